use serde_json::{Map, Value, json};
use uuid::Uuid;

/// A document that is made from a number
pub(crate) struct Made(Map<String, Value>);

impl Made {
    pub(crate) fn of(seed: u64) -> Self {
        let mut random = Random(seed);
        let r = &mut random;
        let organizations: Vec<_> = names("org", r.up_to(2) + 1);
        let users: Vec<_> = names("User-", r.up_to(4) + 1);
        let groups: Vec<_> = names("group", r.up_to(2));
        let templates: Vec<_> = names("template", r.up_to(2));
        let mut lists = Map::new();
        let mut set = |name: &str, entries: Vec<Value>| {
            lists.insert(name.to_owned(), entries.into());
        };
        set(
            "organizations",
            organizations.iter().map(|name| r.entry(json!({ "name": name }))).collect(),
        );
        set("users", users.iter().map(|name| user(r, name, &organizations)).collect());
        let first = &organizations[0];
        set(
            "groups",
            groups
                .iter()
                .map(|name| {
                    let mut entry = json!({ "name": name, "organization": first });
                    if r.is() {
                        entry["members"] = users.iter().filter(|_| r.is()).cloned().collect();
                    }
                    r.entry(entry)
                })
                .collect(),
        );
        set(
            "roles",
            (0..r.up_to(2))
                .map(|n| {
                    let permission =
                        json!({ "negate": r.is(), "resource_type": "workspace", "action": "read" });
                    let mut entry =
                        json!({ "name": format!("role{n}"), "site_permissions": [permission] });
                    if r.is() {
                        entry["organization"] = json!(first);
                    }
                    r.entry(entry)
                })
                .collect(),
        );
        set("templates", templates.iter().map(|name| {
            let level = r.one(&["owner", "authenticated", "public"]);
            r.entry(json!({ "name": name, "organization": first, "max_port_sharing_level": level }))
        }).collect());
        set("workspaces", (0..r.up_to(4)).map(|n| {
            let mut entry = json!({
                "name": format!("Work{n}"), "owner": r.one(&users), "organization": first,
                "builds": (1..=r.up_to(2)).map(|number| build(r, number)).collect::<Value>(),
            });
            if r.is() && !templates.is_empty() {
                entry["template"] = json!(r.one(&templates));
            }
            if r.is() {
                let access = [json!("use"), json!("admin"), json!(["ssh", "read"]), json!([])];
                entry["shared_with"]["users"][r.one(&users)] = r.one(&access).clone();
            }
            if r.is() && !groups.is_empty() {
                entry["shared_with"]["groups"][r.one(&groups)] = json!("use");
            }
            if r.is() {
                entry["port_shares"] = (0..r.up_to(2)).map(|n| {
                    json!({ "agent": "main", "port": 8000 + n, "level": r.one(&["owner", "public"]) })
                }).collect();
            }
            if r.is() {
                entry["shares"] = (0..r.up_to(2)).map(|n| {
                    let app = if n == 0 { "code" } else { "8080" };
                    let mut share = json!({ "agent": "main", "app": app });
                    share["users"] = users.iter().filter(|_| r.is()).cloned().collect();
                    share["groups"] = groups.iter().filter(|_| r.is()).cloned().collect();
                    share
                }).collect();
            }
            if r.is() {
                entry["dormant_at"] = json!("2026-11-21T00:00:00.123456Z");
            }
            r.entry(entry)
        }).collect());
        set(
            "proxies",
            (0..r.up_to(2))
                .map(|n| {
                    r.entry(
                        json!({ "name": format!("Proxy{n}"), "url": "https://proxy.example.com" }),
                    )
                })
                .collect(),
        );
        Self(lists)
    }

    pub(crate) fn json(&self) -> String {
        Value::Object(self.0.clone()).to_string()
    }

    /// The document without ids of its entries: each is known by its name
    pub(crate) fn without_ids(mut self) -> Self {
        fn remove(value: &mut Value) {
            match value {
                Value::Object(fields) => {
                    fields.remove("id");
                    fields.values_mut().for_each(remove);
                }
                Value::Array(items) => items.iter_mut().for_each(remove),
                _ => {}
            }
        }
        self.0.values_mut().for_each(remove);
        self
    }

    /// The document with its lists in the reverse order, and other white space
    pub(crate) fn reversed(&self) -> String {
        let list = |(name, entries): (&String, &Value)| format!("\n\"{name}\" :\t{entries:#} ");
        let lists: Vec<_> = self.0.iter().rev().map(list).collect();
        format!("\u{feff} {{{}}}\n", lists.join(","))
    }
}

fn names(prefix: &str, count: u64) -> Vec<String> {
    (0..count).map(|n| format!("{prefix}{n}")).collect()
}

fn user(r: &mut Random, name: &str, organizations: &[String]) -> Value {
    let mut entry =
        json!({ "username": name, "status": r.one(&["active", "suspended", "dormant"]) });
    if r.is() {
        // Bytes that have a meaning in the formats in between.
        entry["email"] = json!(format!("{name}\\t\t\"{{,}}\\N@example.com"));
    }
    if r.is() {
        entry["roles"] = json!(["owner", "auditor"]);
    }
    if r.is() {
        for organization in organizations.iter().filter(|_| r.is()) {
            entry["organizations"][organization] = json!(["organization-admin"]);
        }
    }
    r.entry(entry)
}

fn build(r: &mut Random, number: u64) -> Value {
    let agents: Value = names("main", r.up_to(2)).iter().map(|name| agent(r, name)).collect();
    let mut entry = json!({ "number": number, "agents": agents });
    if r.is() {
        entry["transition"] = json!(r.one(&["start", "stop", "delete"]));
    }
    if r.is() {
        entry["created_at"] = json!("2026-11-21T10:00:00+02:00");
    }
    if r.is() {
        entry["job"] = json!(r.id());
    }
    r.entry(entry)
}

fn agent(r: &mut Random, name: &str) -> Value {
    let mut entry = json!({ "name": name });
    if r.is() {
        entry["instance_id"] = json!("i-0123456789abcdef0");
    }
    if r.is() {
        entry["token"] = json!(r.id());
    }
    if r.is() {
        entry["resource"] = json!(r.id());
    }
    if r.is() {
        entry["connected"] = json!(r.is());
    }
    if r.is() {
        let apps = names("app", r.up_to(3));
        entry["apps"] = apps
            .iter()
            .map(|slug| {
                let mut app = json!({ "slug": slug, "subdomain": r.is(), "hidden": r.is() });
                if r.is() {
                    app["display_name"] = json!("a \\ b\nc\u{301}");
                }
                if r.is() {
                    app["url"] = json!("http://127.0.0.1:8080");
                }
                r.entry(app)
            })
            .collect();
    }
    r.entry(entry)
}

/// Numbers that follow from a first one (splitmix64)
struct Random(u64);

impl Random {
    const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    const fn is(&mut self) -> bool {
        self.next().is_multiple_of(2)
    }

    const fn up_to(&mut self, most: u64) -> u64 {
        self.next() % (most + 1)
    }

    fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        let most = u64::try_from(of.len() - 1).unwrap();
        &of[usize::try_from(self.up_to(most)).unwrap()]
    }

    fn id(&mut self) -> Uuid {
        Uuid::from_u64_pair(self.next(), self.next())
    }

    /// The entry, sometimes with an id of its own
    fn entry(&mut self, mut entry: Value) -> Value {
        if self.up_to(3) == 0 {
            entry["id"] = json!(self.id());
        }
        entry
    }
}
