//! Rows as a file and as a table

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use app_audit::{CSV_HEAD, Decision, End, Listed, Row, Table, UserId, Width, csv_line, json_line};
use serde_json::{Value, json};
use uuid::Uuid;

fn row() -> Row {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_759_200);
    let mut row = Row::new(Uuid::from_u128(1), time, Decision::Allow);
    row.session_id = Some(row.id);
    row.action = "open".to_owned();
    row.user_id = Uuid::from_u128(2);
    row.resource_target = "code".to_owned();
    row.status_code = 200;
    row.ip = Some("2001:db8::1".parse().unwrap());
    row.additional_fields = json!({ "workspace_owner": "ann", "workspace_name": "dev" });
    row
}

fn csv(session: &Listed) -> String {
    let mut text = String::new();
    csv_line(session, &mut text);
    text
}

/// The fields of a line in which every field is quoted
fn fields(line: &str) -> Vec<String> {
    let mut rest = line.strip_suffix("\r\n").unwrap();
    let mut fields = Vec::new();
    loop {
        rest = rest.strip_prefix('"').unwrap();
        let mut field = String::new();
        // A quote in a field is written twice.
        while let Some(at) = rest.find('"') {
            field.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            match rest.strip_prefix('"') {
                Some(after) => rest = after,
                None => break,
            }
            field.push('"');
        }
        fields.push(field);
        if rest.is_empty() {
            return fields;
        }
        rest = rest.strip_prefix(',').unwrap();
    }
}

#[test]
fn no_field_of_a_csv_file_is_a_formula() {
    for (hostile, written) in [
        ("=1+1", "'=1+1"),
        ("=HYPERLINK(\"http://x\",\"y\")", "'=HYPERLINK(\"http://x\",\"y\")"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("\n=1", "'\n=1"),
        ("\u{ff1d}1", "'\u{ff1d}1"),
        ("\u{ff20}x", "'\u{ff20}x"),
        ("Mozilla/5.0 (=)", "Mozilla/5.0 (=)"),
        ("'=1", "'=1"),
        ("a\"b", "a\"b"),
    ] {
        let mut row = row();
        row.user_agent = Some(hostile.to_owned());
        row.resource_target = hostile.to_owned();
        row.reason = hostile.to_owned();
        let session = Listed::new(row, Some(hostile.to_owned()));
        let line = csv(&session);
        let fields = fields(&line);
        let head: Vec<_> = CSV_HEAD.trim_end().split(',').collect();
        assert_eq!(fields.len(), head.len(), "{line}");
        for name in ["user", "app", "reason", "user_agent"] {
            let at = head.iter().position(|head| *head == name).unwrap();
            assert_eq!(fields[at], written, "{name} of {hostile:?}");
        }
    }
    // A field cannot end itself, or the line.
    let mut row = row();
    row.user_agent = Some("\",\"\r\n=1".to_owned());
    let line = csv(&Listed::new(row, None));
    assert!(line.contains("\"\"\",\"\"\r\n=1\""), "{line}");
}

#[test]
fn a_line_of_json_is_the_row_with_name_and_end() {
    let mut session = Listed::new(row(), Some("ann".to_owned()));
    let fields = json!({ "last_seen": "2026-11-27T06:05:00.000000Z", "visits": 7 });
    session.end = Some(End::of(session.row.time + Duration::from_secs(3_600), &fields));
    let mut line = String::new();
    json_line(&session, &mut line);
    assert!(line.ends_with("}\n") && line.matches('\n').count() == 1, "{line}");
    let value: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(value["time"], "2026-11-27T06:00:00.000000Z");
    assert_eq!((&value["username"], &value["decision"]), (&"ann".into(), &"allow".into()));
    assert_eq!(value["end"]["visits"], 7);
    let row: Value = serde_json::to_value(&session.row).unwrap();
    for (name, of_row) in row.as_object().unwrap() {
        assert_eq!(value[name], *of_row, "{name}");
    }
    let line = csv(&session);
    assert!(line.contains("\"2026-11-27T06:05:00.000000Z\",\"7\""), "{line}");
}

#[test]
fn a_table_fits_its_width() {
    let mut denied = row();
    denied.decision = Decision::Deny;
    denied.reason = "agent_not_connected_for_a_long_time".to_owned();
    denied.resource_target = "\u{1b}[31mred\u{202e}".to_owned();
    let names = HashMap::from([(UserId(Uuid::from_u128(2)), "a-user-with-a-long-name".to_owned())]);
    for width in [200, 120, 100, 80, 60] {
        let table = Table::new(Width::Columns(width));
        for line in [table.head(), table.row(&row(), &names), table.row(&denied, &names)] {
            assert!(line.chars().count() <= width, "{width}: {line}");
            assert!(!line.contains(char::is_control) && !line.contains('\u{202e}'), "{line:?}");
        }
        let line = table.row(&denied, &names);
        assert!(line.starts_with("2026-11-27T06:00:00.000Z  a-user"), "{line}");
        assert!(line.contains("open denied"), "{width}: {line}");
        assert_eq!(table.head().contains("ADDRESS"), width >= 100, "{width}: {}", table.head());
    }
    let wide = Table::new(Width::Unlimited);
    let line = wide.row(&denied, &HashMap::new());
    for part in [
        "open denied: agent_not_connected_for_a_long_time",
        "00000000-0000-0000-0000-000000000002",
        "2001:db8::1",
        "ann/dev",
        "\u{fffd}[31mred\u{fffd}",
    ] {
        assert!(line.contains(part), "{part} in {line}");
    }
    assert!(wide.head().ends_with("REQUEST"));
    let mut anonymous = row();
    anonymous.user_id = Uuid::nil();
    assert!(wide.row(&anonymous, &HashMap::new()).contains("Z  -  "), "no visitor");
}
