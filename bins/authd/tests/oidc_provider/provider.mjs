// A certified OpenID provider for tests: a visitor is the user whose e-mail address is typed.
//
// PORT: where it listens, at http://127.0.0.1
// CALLBACK, LOGGED_OUT, BACKCHANNEL: addresses of the client
// MODULES: the folder in which the package is installed

import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const { PORT, CALLBACK, LOGGED_OUT, BACKCHANNEL, MODULES } = process.env;
const found = createRequire(`${MODULES}/x.js`).resolve('oidc-provider');
const { default: Provider } = await import(pathToFileURL(found));

const account = (id) => ({
  accountId: id,
  claims: () => ({
    sub: id,
    email: id,
    email_verified: !id.startsWith('unverified'),
    preferred_username: id.split('@')[0],
    groups: ['makers'],
  }),
});

const provider = new Provider(`http://127.0.0.1:${PORT}`, {
  clients: [{
    client_id: 'authd',
    client_secret: 'a secret: with/special+characters',
    redirect_uris: [CALLBACK],
    post_logout_redirect_uris: [LOGGED_OUT],
    backchannel_logout_uri: BACKCHANNEL,
    backchannel_logout_session_required: true,
  }],
  claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['preferred_username', 'groups'] },
  cookies: { keys: ['for tests'] },
  features: { backchannelLogout: { enabled: true } },
  // Its own dispatcher reaches no address of this machine, where the client is.
  fetch: (url, { dispatcher, ...options }) => fetch(url, options),
  findAccount: (_, id) => account(id),
  pkce: { required: () => true },
});
for (const event of ['server_error', 'grant.error', 'authorization.error', 'backchannel.error']) {
  provider.on(event, (...of) => console.error(event, of.map(String)));
}
provider.listen(Number(PORT), '127.0.0.1', () => console.log('listening'));
