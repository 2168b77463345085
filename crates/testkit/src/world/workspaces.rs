use chrono::Duration;
use serde_json::json;
use store::fleet::{JobType, SharingLevel, Transition};
use uuid::Uuid;

use super::World;
use crate::Release;

impl World {
    /// Workspaces in all states, their agents and apps, and jobs
    pub(super) fn add_workspaces(&mut self) {
        self.add_dev();
        self.add_others();
        self.add_jobs();
        if self.since(Release::July2026) {
            self.forget_earlier_builds();
        }
        self.add_lists();
    }

    /// Alice's workspace, in its second build
    fn add_dev(&mut self) {
        let first = self.add_build("alice", "dev", Transition::Start);
        let past = self.add_agent("alice/dev past", first, "main", "i-dev");
        self.fleet.app(past, "past").sharing_level = SharingLevel::Public;
        self.add_build("alice", "dev", Transition::Stop);
        let build = self.add_build("alice", "dev", Transition::Start);
        let main = self.add_agent("alice/dev/main", build, "main", "i-dev");
        self.add_apps(main);
        self.fleet.app(main, "elsewhere").external = true;
        let side = self.add_agent("alice/dev/side", build, "side", "i-dev-side");
        self.fleet.app(side, "aside");
        if self.since(Release::V2_22) {
            let child = self.add_agent("alice/dev/child", build, "child", "i-child");
            self.fleet.app(child, "inner");
            let row = self.fleet.workspace_agents.iter_mut().find(|row| row.id == child);
            row.unwrap().parent_id = Some(main);
        }
        if self.since(Release::V2_24) {
            let gone = self.add_agent("alice/dev gone", build, "gone", "i-gone");
            self.fleet.app(gone, "left").sharing_level = SharingLevel::Public;
            let row = self.fleet.workspace_agents.iter_mut().find(|row| row.id == gone);
            row.unwrap().deleted = true;
        }
        for (port, level) in [(8080, "public"), (8081, "authenticated")] {
            self.rows.add(
                "workspace_agent_port_share",
                json!({
                    "workspace_id": self.id("alice/dev"), "agent_name": "main", "port": port,
                    "share_level": level,
                }),
            );
        }
    }

    fn add_others(&mut self) {
        for (owner, name, instance) in [
            ("alice", "asleep", "i-asleep"),
            ("alice", "azure", "02aab8a4-74ef-476e-8182-f6d2ba4166a6"),
            ("alice", "google", "8087716956832600000"),
            ("alice", "offline", "i-offline"),
            ("alice", "pair", "i-pair"),
            ("alice", "recycled", "i-recycled"),
            ("alice", "removed", "i-removed"),
            ("alice", "stopped", "i-stopped"),
            ("bob", "shared", "i-shared"),
            ("carol", "dev", "i-recycled"),
            ("ghost", "dev", "i-ghost"),
            ("mallory", "dev", "i-mallory"),
            ("prebuilds", "waiting", "i-waiting"),
            ("robot", "dev", "i-robot"),
            ("walter", "dev", "i-walter"),
            ("wendy", "dev", "i-wendy"),
        ] {
            if self.ids.contains_key(owner) {
                let build = self.add_build(owner, name, Transition::Start);
                let agent =
                    self.add_agent(&format!("{owner}/{name}/main"), build, "main", instance);
                self.add_apps(agent);
                if name == "pair" {
                    self.add_agent("alice/pair/other", build, "other", instance);
                }
            }
        }
        self.add_build("alice", "stopped", Transition::Stop);
        self.add_build("alice", "removed", Transition::Delete);
        let [asleep, offline] = ["alice/asleep", "alice/offline/main"].map(|name| self.id(name));
        let row = self.fleet.workspaces.iter_mut().find(|row| row.id == asleep);
        row.unwrap().dormant_at = Some(self.now);
        let row = self.fleet.workspace_agents.iter_mut().find(|row| row.id == offline).unwrap();
        row.disconnected_at = row.last_connected_at;
        // Mallory has left the organization that her workspace is in.
        let acme = self.id("acme");
        let orphaned = self.id("mallory/dev");
        let row = self.fleet.workspaces.iter_mut().find(|row| row.id == orphaned).unwrap();
        row.organization_id = acme;
        for row in &mut self.fleet.templates {
            row.max_port_sharing_level = SharingLevel::Public;
            row.organization_id =
                if row.organization_id.is_nil() { acme } else { row.organization_id };
        }
        for row in &mut self.fleet.provisioner_jobs {
            row.organization_id =
                if row.organization_id.is_nil() { acme } else { row.organization_id };
        }
    }

    /// Adds the next build of a workspace, and the workspace with the first; returns the resource
    fn add_build(&mut self, owner: &str, name: &str, transition: Transition) -> Uuid {
        let full = format!("{owner}/{name}");
        let workspace = match self.ids.get(&full) {
            Some(workspace) => *workspace,
            None => self.fleet.workspace(self.id(owner), name),
        };
        self.ids.insert(full.clone(), workspace);
        let build = self.fleet.build(workspace, transition);
        let job = self.fleet.workspace_builds.last().unwrap().job_id;
        self.ids.insert(format!("job: build of {full}"), job);
        build.resource
    }

    /// Adds a connected agent
    fn add_agent(&mut self, full: &str, resource: Uuid, name: &str, instance: &str) -> Uuid {
        // The clocks of machines differ, and a test may take a while.
        let last_connected_at = self.now + Duration::hours(1);
        let row = self.fleet.agent(resource, name, instance);
        row.first_connected_at = Some(row.created_at + Duration::seconds(10));
        row.last_connected_at = Some(last_connected_at);
        let id = row.id;
        self.ids.insert(full.to_owned(), id);
        id
    }

    /// Apps of each sharing level
    fn add_apps(&mut self, agent: Uuid) {
        self.fleet.app(agent, "open").sharing_level = SharingLevel::Public;
        self.fleet.app(agent, "signed-in").sharing_level = SharingLevel::Authenticated;
        if self.since(Release::V2_24) {
            self.fleet.app(agent, "team").sharing_level = SharingLevel::Organization;
        }
        self.fleet.app(agent, "closed");
    }

    /// Jobs that are not builds, of a template that Bob may read
    fn add_jobs(&mut self) {
        let acme = self.id("acme");
        let [template, bob] = [self.fleet.templates[0].id, self.id("bob")];
        self.ids.insert("template".to_owned(), template);
        self.fleet.templates[0].user_acl = json!({ bob.to_string(): ["read", "use"] });
        let version = Uuid::new_v4();
        for (name, kind, instance) in [
            ("job: import", JobType::TemplateVersionImport, "i-import"),
            ("job: dry run", JobType::TemplateVersionDryRun, "i-import"),
            ("job: import without version", JobType::TemplateVersionImport, "i-import"),
        ] {
            let resource = self.fleet.bare_job(kind, acme);
            self.fleet.agent(resource, "main", instance);
            let job = self.fleet.provisioner_jobs.last_mut().unwrap();
            if kind == JobType::TemplateVersionDryRun {
                job.input = json!({ "template_version_id": version });
            }
            self.ids.insert(name.to_owned(), job.id);
        }
        self.rows.add(
            "template_versions",
            json!({
                "id": version, "template_id": template, "organization_id": acme,
                "job_id": self.id("job: import"),
            }),
        );
    }

    /// Deletes agents of earlier builds and of deleted workspaces, as newer control planes do
    fn forget_earlier_builds(&mut self) {
        let fleet = &mut self.fleet;
        for agent in &mut fleet.workspace_agents {
            let mut resources = fleet.workspace_resources.iter();
            let resource = resources.find(|row| row.id == agent.resource_id).unwrap();
            let mut builds = fleet.workspace_builds.iter();
            let build = builds.find(|row| row.job_id == resource.job_id);
            agent.deleted |= build.is_some_and(|build| {
                fleet.workspace_builds.iter().any(|other| {
                    other.workspace_id == build.workspace_id
                        && other.build_number > build.build_number
                })
            });
        }
    }

    /// The access list of Bob's workspace, in releases that have access lists
    fn add_lists(&mut self) {
        if !self.since(Release::V2_26) {
            return;
        }
        let [shared, alice, carol, friends] =
            ["bob/shared", "alice", "carol", "friends"].map(|name| self.id(name).to_string());
        let user = ["read", "ssh", "application_connect", "start", "stop"];
        let row = self.fleet.workspaces.iter_mut().find(|row| row.id.to_string() == shared);
        let row = row.unwrap();
        row.user_acl = json!({ alice: { "permissions": user }, carol: { "permissions": user } });
        row.group_acl = json!({ friends: { "permissions": user } });
    }
}
