use super::World;
use crate::Release;

/// A visit to an app or a terminal
#[derive(Clone, Copy, Debug)]
pub struct Visit {
    /// The name of the visitor's session token, see [`World::token`]; `None` for a stranger
    pub key: Option<&'static str>,
    /// The app or terminal
    pub target: Target,
    /// What authd answers
    pub answer: Answer,
    /// The answer of the release itself, if it differs
    pub reference: Option<Answer>,
}

/// The target of a visit
#[derive(Clone, Copy, Debug)]
pub enum Target {
    /// `SLUG--AGENT--WORKSPACE--OWNER`, on its own host; the slug may be a port
    App {
        /// The slug, or a port
        slug: &'static str,
        /// The agent
        agent: &'static str,
        /// The workspace
        workspace: &'static str,
        /// The workspace's owner
        owner: &'static str,
    },
    /// The terminal of the agent with this name, see [`World::id`]
    Terminal(&'static str),
}

/// The outcome of a visit
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The visit is allowed
    Opens,
    /// The visitor has to sign in; a terminal answers as for [`NotFound`](Self::NotFound)
    SignIn,
    /// The target does not exist, or not for this visitor
    NotFound,
    /// The workspace is stopped
    Stopped,
    /// The agent is not connected
    Unreachable,
    /// The visitor's account is not active
    Inactive,
}

/// A sign-in: an agent requests its token with the proof of an instance
#[derive(Clone, Copy, Debug)]
pub struct SignIn {
    /// The instance
    pub instance: &'static str,
    /// The agent name in the request
    pub agent_name: Option<&'static str>,
    /// What authd answers
    pub answer: SignedIn,
}

/// The outcome of a sign-in
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignedIn {
    /// The token of the agent with this name, see [`World::id`]
    Agent(&'static str),
    /// The instance is unknown
    NotFound,
    /// The instance does not have an agent with the name
    NoSuchName,
    /// The instance has agents with these names, and the request does not name one
    Ambiguous(&'static [&'static str]),
    /// The instance belongs to an earlier build
    Stale,
    /// The instance belongs to two workspaces
    Shared,
}

/// A question about a job
#[derive(Clone, Copy, Debug)]
pub struct JobQuestion {
    /// The job's name, see [`World::id`]
    pub job: &'static str,
    /// The purpose of the job
    pub origin: JobOf,
}

/// The purpose of a job
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobOf {
    /// A build of the workspace with this name, see [`World::id`]
    Workspace(&'static str),
    /// A version of the template, or a dry run of one
    Template,
    /// Unknown
    Nothing,
}

impl World {
    /// Sign-ins of agents, on every release
    ///
    /// The answers are those of authd. It ignores agents of earlier builds, as newer releases do
    /// by marking them as deleted. Older releases did not ignore them.
    #[must_use]
    pub fn sign_ins(&self) -> Vec<SignIn> {
        let stale = match self.since(Release::July2026) {
            true => SignedIn::NotFound,
            false => SignedIn::Stale,
        };
        let mut sign_ins = vec![
            ("i-dev", None, SignedIn::Agent("alice/dev/main")),
            ("i-dev", Some(" main "), SignedIn::Agent("alice/dev/main")),
            ("i-dev", Some("Main"), SignedIn::NoSuchName),
            ("i-dev", Some("side"), SignedIn::NoSuchName),
            ("i-dev-side", None, SignedIn::Agent("alice/dev/side")),
            ("i-pair", None, SignedIn::Ambiguous(&["main", "other"])),
            ("i-pair", Some("other"), SignedIn::Agent("alice/pair/other")),
            ("i-pair", Some("third"), SignedIn::NoSuchName),
            ("i-offline", None, SignedIn::Agent("alice/offline/main")),
            ("i-asleep", None, SignedIn::Agent("alice/asleep/main")),
            ("i-mallory", None, SignedIn::Agent("mallory/dev/main")),
            ("i-ghost", None, SignedIn::Agent("ghost/dev/main")),
            ("i-recycled", None, SignedIn::Shared),
            ("i-stopped", None, stale),
            ("i-stopped", Some("main"), stale),
            ("i-removed", None, SignedIn::NotFound),
            ("i-import", None, SignedIn::NotFound),
            ("i-unknown", None, SignedIn::NotFound),
            ("I-DEV", None, SignedIn::NotFound),
            // Ids in the form of Azure and Google
            ("02aab8a4-74ef-476e-8182-f6d2ba4166a6", None, SignedIn::Agent("alice/azure/main")),
            ("02aab8a4-74ef-476e-8182-f6d2ba4166a7", None, SignedIn::NotFound),
            ("8087716956832600000", Some("main"), SignedIn::Agent("alice/google/main")),
            ("8087716956832600001", None, SignedIn::NotFound),
            // Sub-agents and deleted agents cannot sign in.
            ("i-child", None, SignedIn::NotFound),
            ("i-gone", None, SignedIn::NotFound),
        ];
        if self.since(Release::V2_22) {
            sign_ins.push(("i-waiting", None, SignedIn::Agent("prebuilds/waiting/main")));
        }
        let sign_in = |(instance, agent_name, answer)| SignIn { instance, agent_name, answer };
        sign_ins.into_iter().map(sign_in).collect()
    }

    /// Visits, on every release since [`Release::FIRST_WITH_APPS`]
    #[must_use]
    pub fn visits(&self) -> Vec<Visit> {
        let mut visits = Visits(Vec::new());
        self.visit_as_users(&mut visits);
        self.visit_states(&mut visits);
        self.visit_with_keys(&mut visits);
        self.visit_by_list(&mut visits);
        self.visit_terminals(&mut visits);
        visits.0
    }

    /// Questions about jobs, on every release since [`Release::FIRST_WITH_APPS`]
    #[must_use]
    pub fn jobs(&self) -> Vec<JobQuestion> {
        let jobs = [
            ("job: build of alice/dev", JobOf::Workspace("alice/dev")),
            ("job: build of alice/stopped", JobOf::Workspace("alice/stopped")),
            ("job: import", JobOf::Template),
            ("job: dry run", JobOf::Template),
            ("job: import without version", JobOf::Nothing),
        ];
        jobs.into_iter().map(|(job, origin)| JobQuestion { job, origin }).collect()
    }

    /// Visits of users to Alice's apps of each sharing level
    fn visit_as_users(&self, visits: &mut Visits) {
        use Answer::{Inactive, NotFound, Opens, SignIn};

        // A user without an organization, and apps that are shared with all signed-in users.
        let outside = if self.since(Release::V2_28) { NotFound } else { Opens };
        for (key, answers) in [
            (None, [Opens, SignIn, SignIn, SignIn]),
            (Some("alice"), [Opens, Opens, Opens, Opens]),
            (Some("bob"), [Opens, Opens, Opens, NotFound]),
            (Some("carol"), [Opens, Opens, NotFound, NotFound]),
            (Some("mallory"), [Opens, outside, NotFound, NotFound]),
            (Some("root"), [Opens, Opens, Opens, Opens]),
            (Some("judy"), [Opens, Opens, Opens, NotFound]),
            (Some("trent"), [Opens, Opens, Opens, NotFound]),
            (Some("peggy"), [Opens, Opens, Opens, Opens]),
            // Accounts that are not active
            (Some("dave"), [Inactive; 4]),
            (Some("erin"), [Inactive; 4]),
            // Links to identity providers
            (Some("frank"), [Opens, Opens, Opens, NotFound]),
            (Some("grace"), [Opens, SignIn, SignIn, SignIn]),
            (Some("heidi"), [Opens, SignIn, SignIn, SignIn]),
            (Some("ivan"), [Opens, Opens, Opens, NotFound]),
        ] {
            visits.levels(key, "dev", "alice", answers);
        }
        // Roles that are stored as rows decide access to the holders' own workspaces.
        if self.since(Release::V2_30) {
            visits.levels(Some("wendy"), "dev", "wendy", [Opens, NotFound, NotFound, NotFound]);
        } else {
            visits.levels(Some("wendy"), "dev", "wendy", [Opens; 4]);
        }
        if self.since(Release::V2_35) || !self.since(Release::V2_30) {
            visits.levels(Some("walter"), "dev", "walter", [Opens; 4]);
        }
        if self.since(Release::V2_32) {
            visits.levels(Some("robot"), "dev", "robot", [Opens; 4]);
            visits.levels(Some("wendy"), "dev", "robot", [Opens, NotFound, NotFound, NotFound]);
        }
        // Her own workspace is in an organization that she has left.
        visits.levels(Some("mallory"), "dev", "mallory", [Opens, outside, NotFound, NotFound]);
        visits.levels(Some("alice"), "waiting", "prebuilds", [Opens, Opens, Opens, NotFound]);
        visits.levels(Some("root"), "waiting", "prebuilds", [Opens; 4]);
    }

    /// Workspaces, agents, apps and ports in all states
    fn visit_states(&self, visits: &mut Visits) {
        use Answer::{NotFound, Opens, SignIn, Stopped, Unreachable};

        let alice = Some("alice");
        for (key, slug, agent, workspace, answer) in [
            (alice, "closed", "main", "stopped", Stopped),
            (None, "closed", "main", "stopped", Stopped),
            (alice, "closed", "main", "removed", NotFound),
            (None, "open", "main", "removed", NotFound),
            (alice, "closed", "main", "offline", Unreachable),
            (None, "open", "main", "offline", Unreachable),
            (None, "closed", "main", "offline", SignIn),
            (Some("bob"), "closed", "main", "offline", NotFound),
            // Apps of dormant workspaces open only if they are shared with everyone.
            (alice, "closed", "main", "asleep", NotFound),
            (Some("root"), "closed", "main", "asleep", NotFound),
            (alice, "signed-in", "main", "asleep", Opens),
            (alice, "closed", "", "dev", Opens),
            (alice, "aside", "", "dev", Opens),
            (alice, "aside", "side", "dev", Opens),
            (alice, "inner", "child", "dev", Opens),
            (alice, "past", "main", "dev", NotFound),
            (alice, "left", "gone", "dev", NotFound),
            (alice, "nothing", "main", "dev", NotFound),
            (alice, "closed", "main", "nothing", NotFound),
            (alice, "8080", "main", "dev", Opens),
            (None, "8080", "main", "dev", Opens),
            (None, "8080s", "main", "dev", Opens),
            (None, "8081", "main", "dev", SignIn),
            (Some("carol"), "8081", "main", "dev", Opens),
            (alice, "3000", "main", "dev", Opens),
            (Some("bob"), "3000", "main", "dev", NotFound),
            (Some("bob"), "8080", "side", "dev", NotFound),
        ] {
            visits.ask(key, Target::App { slug, agent, workspace, owner: "alice" }, answer);
        }
        let app = |slug, agent, owner| Target::App { slug, agent, workspace: "dev", owner };
        visits.ask(alice, app("open", "main", "ghost"), NotFound);
        visits.ask(alice, app("open", "main", "unknown"), NotFound);
        visits.ask(alice, app("closed", "main", "ALICE"), Opens);
        // The reference opens external apps without a look at the agent.
        visits.differ(alice, app("elsewhere", "main", "alice"), NotFound, Opens);
        visits.differ(alice, app("aside", "main", "alice"), NotFound, Opens);
    }

    /// Alice's sessions with all kinds of limits
    fn visit_with_keys(&self, visits: &mut Visits) {
        use Answer::{NotFound, Opens, SignIn};

        let unknown = [Opens, SignIn, SignIn, SignIn];
        let limited = [Opens, NotFound, NotFound, NotFound];
        // A session that is limited to ids does not open apps that are shared with everyone.
        visits.levels(Some("alice, ended"), "dev", "alice", unknown);
        for key in ["alice, by token", "alice, apps", "alice, by app", "alice, by app for us"] {
            visits.levels(Some(key), "dev", "alice", [Opens; 4]);
            visits.levels(Some(key), "dev", "carol", [Opens, Opens, NotFound, NotFound]);
        }
        let has_audience = self.since(Release::V2_25);
        for key in ["alice, by app for others", "alice, by app without token"] {
            let answers = if has_audience { unknown } else { [Opens; 4] };
            visits.levels(Some(key), "dev", "alice", answers);
        }
        if !self.since(Release::V2_27) {
            return;
        }
        for (key, own, others) in [
            ("alice, may connect", [Opens; 4], [Opens, Opens, NotFound, NotFound]),
            ("alice, may both", [Opens; 4], [Opens, Opens, NotFound, NotFound]),
            ("alice, access", [Opens; 4], [Opens, Opens, NotFound, NotFound]),
            ("alice, all and more", [Opens; 4], [Opens, Opens, NotFound, NotFound]),
            ("alice, workspaces", [Opens; 4], [Opens, Opens, NotFound, NotFound]),
            ("alice, may read", limited, limited),
            ("alice, templates", limited, limited),
            ("alice, other", limited, limited),
            ("alice, apps of other", limited, limited),
            ("alice, dev", [Opens; 4], limited),
            ("alice, both", [Opens; 4], limited),
            ("alice, apps of dev", [Opens; 4], limited),
        ] {
            visits.levels(Some(key), "dev", "alice", own);
            visits.levels(Some(key), "dev", "carol", others);
        }
        let asleep =
            |slug| Target::App { slug, agent: "main", workspace: "asleep", owner: "alice" };
        visits.ask(Some("alice, workspaces"), asleep("signed-in"), Opens);
        visits.ask(Some("alice, dev"), asleep("signed-in"), NotFound);
    }

    /// A workspace that Bob shares with Alice and Carol, and with a group that has Frank
    fn visit_by_list(&self, visits: &mut Visits) {
        use Answer::{NotFound, Opens};

        let listed = if self.since(Release::V2_26) { Opens } else { NotFound };
        for key in ["alice", "frank"] {
            visits.levels(Some(key), "shared", "bob", [Opens, Opens, Opens, listed]);
        }
        visits.levels(Some("judy"), "shared", "bob", [Opens, Opens, Opens, NotFound]);
        // An access list applies only to members of the organization, except in old releases.
        let app = |slug| Target::App { slug, agent: "main", workspace: "shared", owner: "bob" };
        for slug in ["team", "closed"] {
            match self.since(Release::V2_35) || !self.since(Release::V2_26) {
                true => visits.ask(Some("carol"), app(slug), NotFound),
                false => visits.differ(Some("carol"), app(slug), NotFound, Opens),
            }
        }
        if self.since(Release::V2_27) {
            visits.ask(Some("alice, dev"), app("closed"), NotFound);
        }
    }

    fn visit_terminals(&self, visits: &mut Visits) {
        use Answer::{NotFound, Opens, SignIn, Unreachable};

        for (key, agent, answer) in [
            (Some("alice"), "alice/dev/main", Opens),
            (Some("alice"), "alice/dev/child", Opens),
            (Some("root"), "alice/dev/main", Opens),
            (Some("bob"), "alice/dev/main", NotFound),
            (Some("judy"), "alice/dev/main", NotFound),
            (Some("peggy"), "alice/dev/main", NotFound),
            (None, "alice/dev/main", SignIn),
            (Some("alice, apps"), "alice/dev/main", NotFound),
            (Some("alice"), "alice/dev gone", NotFound),
            (Some("alice"), "alice/asleep/main", NotFound),
            (Some("alice"), "alice/offline/main", Unreachable),
        ] {
            visits.ask(key, Target::Terminal(agent), answer);
        }
        // The reference signs tokens for deleted agents, which then open nothing.
        for agent in ["alice/dev past", "alice/removed/main"] {
            let (key, agent) = (Some("alice"), Target::Terminal(agent));
            match self.since(Release::July2026) {
                true => visits.ask(key, agent, NotFound),
                false => visits.differ(key, agent, NotFound, Opens),
            }
        }
        if self.since(Release::V2_26) {
            visits.ask(Some("frank"), Target::Terminal("bob/shared/main"), Opens);
        }
        if self.since(Release::V2_27) {
            for (key, answer) in [
                ("alice, access", Opens),
                ("alice, dev", Opens),
                ("alice, other", NotFound),
                ("alice, may connect", NotFound),
                ("alice, apps of dev", NotFound),
            ] {
                visits.ask(Some(key), Target::Terminal("alice/dev/main"), answer);
            }
        }
    }
}

struct Visits(Vec<Visit>);

impl Visits {
    fn ask(&mut self, key: Option<&'static str>, target: Target, answer: Answer) {
        self.0.push(Visit { key, target, answer, reference: None });
    }

    /// Adds a visit that authd is known to answer differently than the release
    fn differ(
        &mut self,
        key: Option<&'static str>,
        target: Target,
        answer: Answer,
        reference: Answer,
    ) {
        self.0.push(Visit { key, target, answer, reference: Some(reference) });
    }

    /// Apps of one agent, one of each sharing level
    fn levels(
        &mut self,
        key: Option<&'static str>,
        workspace: &'static str,
        owner: &'static str,
        answers: [Answer; 4],
    ) {
        for (slug, answer) in ["open", "signed-in", "team", "closed"].into_iter().zip(answers) {
            self.ask(key, Target::App { slug, agent: "main", workspace, owner }, answer);
        }
    }
}
