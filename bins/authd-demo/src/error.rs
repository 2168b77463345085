use thiserror::Error;

/// Why the demonstration failed
#[derive(Debug, Error)]
pub(crate) enum DemoError {
    #[error("the hosts of the apps are not usable")]
    Apps(#[source] app_authz::Error),
    #[error("the request failed")]
    Client(#[from] testkit::net::ClientError),
    #[error(transparent)]
    Database(#[from] private_postgres::Error),
    #[error("a file cannot be written")]
    File(#[source] std::io::Error),
    #[error("the keys of app access are not usable")]
    Keys(#[from] authd_http::KeysError),
    #[error("cannot listen on a port of 127.0.0.1")]
    Listen(#[source] std::io::Error),
    #[error("signals cannot be received")]
    Signals(#[source] std::io::Error),
    #[error("the store failed")]
    Store(#[from] store::Error),
    #[error("the database server could not be started or stopped")]
    Task(#[from] tokio::task::JoinError),
    #[error("the trust folder is not usable")]
    Trust(#[from] trust_folder::TrustError),
    #[error("{failed} of {all} answers were not the expected ones")]
    Unexpected { failed: usize, all: usize },
}
