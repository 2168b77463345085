//! Ids read and write as the keys that they wrap

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use agent_auth::{AgentId, BuildId, ProvenInstance, WorkspaceId};
use uuid::Uuid;

#[test]
fn ids_read_and_write_as_their_keys() {
    const TEXT: &str = "02aab8a4-74ef-476e-8182-f6d2ba4166a6";
    let key: Uuid = TEXT.parse().unwrap();
    let id: AgentId = TEXT.parse().unwrap();
    assert_eq!((id, Uuid::from(id), id.to_string()), (AgentId::from(key), key, TEXT.to_owned()));
    let json = serde_json::to_string(&id).unwrap();
    assert_eq!(json, format!("\"{TEXT}\""));
    assert_eq!(serde_json::from_str::<AgentId>(&json).unwrap(), id);
    assert!("1".parse::<BuildId>().is_err());

    let number: WorkspaceId<i64> = "-7".parse().unwrap();
    assert_eq!((number, number.to_string()), (WorkspaceId(-7), "-7".to_owned()));
    assert_eq!(serde_json::to_string(&number).unwrap(), "-7");
}

#[test]
fn only_a_uuid_has_two_spellings() {
    let spellings = |id| ProvenInstance::assume_verified(id).spellings().collect::<Vec<_>>();
    let lower = "02aab8a4-74ef-476e-8182-f6d2ba4166a6";
    let both = [lower.to_owned(), lower.to_uppercase()];
    for id in [lower, &both[1], "02AAB8a4-74ef-476e-8182-f6d2ba4166A6"] {
        assert_eq!(spellings(id), both, "{id}");
    }
    let digits = "00000000-0000-0000-0000-000000000000";
    for id in ["", "i-0ABC", digits, "02AAB8A474EF476E8182F6D2BA4166A6", "{02AAB8A4}"] {
        assert_eq!(spellings(id), [id], "{id}");
    }
}
