use app_authz::proxy::{Proxies, Proxy};

use super::MemoryStore;
use crate::Error;

impl Proxies for MemoryStore {
    type Error = Error;

    async fn proxies(&self) -> Result<Vec<Proxy>, Error> {
        let tables = self.read();
        let proxies = tables.proxies.values().map(|proxy| Proxy {
            id: proxy.id,
            name: proxy.name.clone(),
            url: proxy.url.clone(),
            wildcard_hostname: proxy.wildcard_hostname.clone(),
            secret_digest: proxy.token_hashed_secret.0.clone(),
        });
        Ok(proxies.collect())
    }
}
