//! Export of rows

use crate::Error;
use crate::fleet::Fleet;

/// An export that is under way: the rows of one moment, a part at a time
pub trait Export: Send {
    /// The next rows; `None` at the end
    ///
    /// Rows that are deleted are left out, and so are roles that the control plane manages itself.
    /// First come the rows of all organizations, then users with their memberships, groups with
    /// their members, roles, templates, workspaces and proxies, each in the order of their names. A
    /// part has either whole workspaces, with all rows that belong to them, or other rows.
    ///
    /// # Errors
    ///
    /// [`Error::Query`], [`Error::Unavailable`]; [`Error::InvalidRow`] for a value that is not
    /// known.
    fn part(&mut self) -> impl Future<Output = Result<Option<Fleet>, Error>> + Send;
}
