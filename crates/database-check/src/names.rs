use app_authz::address::{AppName, HttpUrl};
use app_authz::app::Port;
use identity_verify::InstanceId;
use store::inspection::{LiveApp, LiveInstance, LiveNames};
use store::{Error, PgStore};

use crate::finding::Finding;

/// Finds stored names that can never work, in the newest builds of some workspaces
///
/// Returns a finding for each kind, with a count and examples. Without app access, apps are left
/// out. A database that does not answer in time is a finding too: it keeps nothing from working.
pub(crate) async fn of_names(store: &PgStore, with_apps: bool) -> Vec<Finding> {
    let names = match store.live_names(WORKSPACES).await {
        Ok(names) => names,
        Err(Error::Tables(_)) => return Vec::new(),
        Err(error) => {
            let text = format!("they could not be checked: {error}");
            return vec![Finding::warning("stored names", text)];
        }
    };
    let LiveNames { instances, apps, .. } = &names;
    let mut findings = vec![of_kind(
        "instance ids",
        instances.len(),
        instances.iter().filter_map(of_instance),
        "cannot sign in, as no cloud gives such an id",
    )];
    if with_apps {
        findings.push(of_kind(
            "app addresses",
            apps.len(),
            apps.iter().filter_map(of_app),
            "cannot be opened",
        ));
    }
    findings
}

fn of_kind(
    subject: &str,
    checked: usize,
    mut faults: impl Iterator<Item = String>,
    what: &str,
) -> Finding {
    let examples: Vec<String> = faults.by_ref().take(EXAMPLES).collect();
    let count = examples.len() + faults.count();
    if count == 0 {
        return Finding::ok(subject, format!("{checked} checked"));
    }
    let more = if count > examples.len() { "; …" } else { "" };
    let text = format!("{count} of {checked} {what}: {}{more}", examples.join("; "));
    Finding::warning(subject, text)
}

fn of_instance(live: &LiveInstance) -> Option<String> {
    let error = InstanceId::stored(&live.instance_id).err()?;
    let (id, agent) = (short(&live.instance_id), &live.agent);
    Some(format!("`{id}` of the agent `{agent}` ({error})"))
}

fn of_app(live: &LiveApp) -> Option<String> {
    let LiveApp { user, workspace, agent, slug, url, subdomain, .. } = live;
    let place = || format!("`{}` of `{user}/{workspace}.{agent}`", short(slug));
    if let Err(error) = HttpUrl::of_app(url) {
        return Some(format!("{} ({error})", place()));
    }
    if slug.parse::<Port>().is_ok() {
        return Some(format!("{} (its slug is read as a port)", place()));
    }
    let name = AppName {
        prefix: String::new(),
        slug_or_port: slug.clone(),
        agent: None,
        workspace: workspace.clone(),
        user: user.clone(),
    };
    let fault = name.fault().or_else(|| name.fault_with_agent(agent)).filter(|_| *subdomain)?;
    Some(format!("{} ({fault})", place()))
}

/// The beginning of a text that may have any length
fn short(text: &str) -> String {
    let begin: String = text.chars().take(LONGEST).collect();
    if begin.len() == text.len() { begin } else { format!("{begin}…") }
}

/// Few enough that the check takes a fraction of a second
const WORKSPACES: u16 = 10_000;

const EXAMPLES: usize = 3;

const LONGEST: usize = 80;
