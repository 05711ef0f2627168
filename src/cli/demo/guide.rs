//! What the demo says on standard output: the commands to try, and what to expect of each.

use super::Listen;
use crate::secret::Secret;
use std::fmt;
use std::path::PathBuf;

/// The values the commands are made of. Its text holds the two webhook keys, which are of this run alone.
pub(super) struct Guide {
    pub(super) config: PathBuf,
    pub(super) listen: Listen,
    pub(super) webhook_key: Secret,
    pub(super) former_key: Secret,
}

impl fmt::Display for Guide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Listen { outbound, webhooks, admin } = self.listen;
        let (key, former) = (self.webhook_key.expose(), self.former_key.expose());
        let config = self.config.display();
        write!(
            f,
            "
attache demo: attache, a made-up third party, a token endpoint and a program of yours, all on loopback.
The file: {config}
Try these in another terminal. Ctrl-C ends it all.

# 1. Out, with a fixed header. The third party says what it received: X-API-KEY is there, though you sent none.
curl -s http://{outbound}/mailer/messages -d 'hello'

# 2. Out, with OAuth2. It received `Authorization: Bearer demo-…`. Run it twice: one token serves both.
curl -s 'http://{outbound}/erp/contacts?limit=2'

# 3. A third party that never answers. After 2 s: 504 and the message from the file.
curl -s -i http://{outbound}/mailer/slow

# 4. In: the third party calls its webhook URL. Your program is told that it is user `mailer-bot`.
curl -s -d '{{\"event\":\"delivered\"}}' http://{webhooks}/webhooks/{key}/delivered

# 5. In, with a key nobody was given: 404 webhook_unknown, and your program hears nothing.
curl -s -i -d '{{}}' http://{webhooks}/webhooks/whk_not-a-key-of-ours

# 6. In, with a good key whose user is not active: 403 user_inactive.
curl -s -i -d '{{}}' http://{webhooks}/webhooks/{former}

# 7. What was counted.
curl -s http://{admin}/metrics | grep -E '^attache_(requests|errors|timeouts|token_requests)_total'

# 8. What attache knows of itself: the services, the accounts and their tokens, the keys, the last reload.
curl -s http://{admin}/status

# 9. A change without a restart. Run 3 again: it now ends after half a second.
sed -i 's/timeout: 2s/timeout: 500ms/' '{config}'

# 10. A mistake changes nothing, and is shown here with its line, until it is mended.
sed -i 's/account: erp/account: epr/' '{config}'
sed -i 's/account: epr/account: erp/' '{config}'

"
        )
    }
}
