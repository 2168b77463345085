use app_authz::proxy::{Proxies, Proxy};

use super::MemoryStore;
use crate::Error;

impl Proxies for MemoryStore {
    type Error = Error;

    async fn proxies(&self) -> Result<Vec<Proxy>, Error> {
        let tables = self.read();
        let proxies = tables.proxies.values().map(|proxy| {
            Proxy::new(proxy.id, &*proxy.name, &*proxy.token_hashed_secret.0)
                .with_addresses(&*proxy.url, &*proxy.wildcard_hostname)
        });
        Ok(proxies.collect())
    }
}
