//! The request that the address of a visit stands for

use super::{AccessMethod, AppRequest, UncheckedRequest};
use crate::Error;
use crate::address::{AppName, encode_path};
use crate::percent;

impl UncheckedRequest {
    /// The request that a path on the host of the dashboard or of a proxy stands for, and the path
    /// within the app
    ///
    /// `path` is the raw path of the visit, without its query. Two forms lead to something:
    ///
    /// - `/@USER/WORKSPACE[.AGENT]/apps/SLUG…`, in which `%40` may stand for `@`. Escapes in the
    ///   names are decoded once. The base path is everything up to the app's own path, as a browser
    ///   writes it, since it becomes the path of a cookie. The path within the app is the raw rest,
    ///   with its slash. It is empty if the path ends after the slug, and the visitor then has to be
    ///   redirected to the same path with a slash.
    /// - `/api/v2/workspaceagents/AGENT/pty`, the terminal of an agent. The path within it is `/`.
    ///
    /// `None` for any other path, and for a name that is empty, or with an escape that is not valid,
    /// is not UTF-8, or stands for a slash, a backslash or a control character.
    ///
    /// ```
    /// use app_authz::app::UncheckedRequest;
    ///
    /// let path = "/%40alice/dev.main/apps/Code%20Server/docs/index.html";
    /// let (request, app_path) = UncheckedRequest::of_path(path).unwrap();
    /// assert_eq!(request.access_method, "path");
    /// assert_eq!(request.base_path, "/%40alice/dev.main/apps/Code%20Server/");
    /// assert_eq!(request.username_or_id, "alice");
    /// assert_eq!(request.workspace_and_agent, "dev.main");
    /// assert_eq!(request.app_slug_or_port, "Code Server");
    /// assert_eq!(app_path, "/docs/index.html");
    /// ```
    #[must_use]
    pub fn of_path(path: &str) -> Option<(Self, &str)> {
        if let Some(request) = Self::of_terminal(path) {
            return Some((request, "/"));
        }
        let named = path.strip_prefix("/@").or_else(|| path.strip_prefix("/%40"))?;
        let mut parts = named.splitn(4, '/');
        let (user, workspace, apps, rest) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        if apps != "apps" {
            return None;
        }
        let (slug, app_path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let folder = path.strip_suffix(app_path)?;
        let request = Self {
            access_method: AccessMethod::Path.as_str().to_owned(),
            base_path: format!("{}/", encode_path(folder)),
            username_or_id: name(user)?,
            workspace_and_agent: name(workspace)?,
            app_slug_or_port: name(slug)?,
            ..Self::default()
        };
        Some((request, app_path))
    }

    /// The request for the terminal that a path leads to: `/api/v2/workspaceagents/AGENT/pty`
    ///
    /// The base path is the whole path. `None` for any other path. Whether the agent is a UUID is
    /// checked with the request.
    #[must_use]
    pub fn of_terminal(path: &str) -> Option<Self> {
        let agent = terminal_agent(path)?;
        Some(Self {
            access_method: AccessMethod::Terminal.as_str().to_owned(),
            base_path: path.to_owned(),
            agent_name_or_id: agent.to_owned(),
            ..Self::default()
        })
    }
}

impl AppRequest {
    /// The request for the app or the port whose name is the first label of a host
    ///
    /// The base path is `/`, since the whole host is the app's. The agent is part of the request only
    /// for a port. [`under`](Self::under) changes that for control planes before v2.27.
    ///
    /// ```
    /// use app_authz::AppRequest;
    /// use app_authz::address::{HostMeaning, HostPattern};
    ///
    /// let pattern: HostPattern = "*.apps.example.com".parse()?;
    /// let HostMeaning::App(name) =
    ///     HostMeaning::of("8080--main--dev--alice.apps.example.com", Some(&pattern), [])
    /// else {
    ///     panic!("not the host of an app");
    /// };
    /// let request = AppRequest::of_host(name)?;
    /// assert_eq!((request.base_path(), request.slug_or_port()), ("/", "8080"));
    /// assert_eq!((request.user(), request.workspace()), ("alice", "dev"));
    /// assert_eq!(request.agent(), Some("main"));
    /// # Ok::<(), app_authz::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::InvalidRequest`] if the user is `me`.
    pub fn of_host(name: AppName) -> Result<Self, Error> {
        UncheckedRequest::from(name).try_into()
    }

    /// The request for the app or the terminal that a path leads to, and the path within the app
    ///
    /// The path is read as [`UncheckedRequest::of_path`] does it.
    ///
    /// ```
    /// use app_authz::AppRequest;
    ///
    /// let (request, app_path) = AppRequest::of_path("/@alice/dev.main/apps/code/a/b")?;
    /// assert_eq!(request.base_path(), "/@alice/dev.main/apps/code/");
    /// assert_eq!((request.user(), request.workspace()), ("alice", "dev"));
    /// assert_eq!((request.agent(), request.slug_or_port()), (Some("main"), "code"));
    /// assert_eq!(app_path, "/a/b");
    /// # Ok::<(), app_authz::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::InvalidAppPath`] if the path leads to neither, and [`Error::InvalidRequest`] if the
    /// user is `me` or the agent of a terminal is not a UUID.
    pub fn of_path(path: &str) -> Result<(Self, &str), Error> {
        let (request, app_path) = UncheckedRequest::of_path(path).ok_or(Error::InvalidAppPath)?;
        Ok((request.try_into()?, app_path))
    }

    /// The request for the terminal that a path leads to
    ///
    /// ```
    /// use app_authz::AppRequest;
    ///
    /// let path = "/api/v2/workspaceagents/00000000-0000-0000-0000-000000000004/pty";
    /// let request = AppRequest::of_terminal(path)?;
    /// assert_eq!(request.agent(), Some("00000000-0000-0000-0000-000000000004"));
    /// # Ok::<(), app_authz::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::InvalidAppPath`] if the path does not lead to a terminal, and
    /// [`Error::InvalidRequest`] if the agent is not a UUID.
    pub fn of_terminal(path: &str) -> Result<Self, Error> {
        UncheckedRequest::of_terminal(path).ok_or(Error::InvalidAppPath)?.try_into()
    }
}

/// The agent whose terminal a path leads to, as the path names it
#[must_use]
pub fn terminal_agent(path: &str) -> Option<&str> {
    let agent = path.strip_prefix("/api/v2/workspaceagents/")?.strip_suffix("/pty")?;
    (!agent.is_empty() && !agent.contains('/')).then_some(agent)
}

/// The name that a segment of a path stands for
///
/// `None` for a text that other servers would take for something else than one name.
fn name(segment: &str) -> Option<String> {
    let name = percent::decode(segment)?;
    let is_name = !name.is_empty() && !name.chars().any(|c| c.is_control() || "/\\".contains(c));
    is_name.then(|| name.into_owned())
}
