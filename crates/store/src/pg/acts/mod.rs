mod journal;
mod page;
#[cfg(test)]
mod tests;

pub(super) use self::journal::{FORGET, NOTE, NOTE_ACTS, NoteActs, note_in};
pub(super) use self::page::READ;
