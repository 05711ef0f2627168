//! The demo's output: the steps to try, and what to expect of each.
//!
//! A step is shell that bash 3.2, dash and zsh take alike, pasted or as a script. So it has no comments, which an interactive
//! zsh runs as commands, and no options of GNU tools alone. A step after a change waits until the change has taken effect.

use super::DemoAddresses;
use crate::secret::Secret;
use std::fmt;
use std::path::PathBuf;

/// The values the steps are made of. Its text holds the two webhook keys, which are of this run alone.
pub(super) struct Guide {
    pub(super) config: PathBuf,
    /// The script that holds [`Self::steps`] as well.
    pub(super) script: PathBuf,
    pub(super) listen: DemoAddresses,
    pub(super) webhook_key: Secret,
    pub(super) former_key: Secret,
}

impl Guide {
    /// The steps, as a script.
    pub(super) fn steps(&self) -> String {
        let DemoAddresses { outbound, webhooks, admin } = self.listen;
        let (key, former) = (self.webhook_key.expose(), self.former_key.expose());
        let config = self.config.display();
        let edit = |from: &str, to: &str| {
            format!("sed 's/{from}/{to}/' '{config}' >'{config}.new' && mv '{config}.new' '{config}'")
        };
        let wait =
            |text: &str| format!("until curl -s http://{admin}/status | grep -Eq '{text}'; do sleep 1; done");
        let (change, changed) = (edit("timeout: 2s", "timeout: 500ms"), wait(r#""timeout_ms": 500,?$"#));
        let (mistake, rejected) = (edit("account: erp", "account: epr"), wait(r#""result": "rejected""#));
        let (mend, mended) = (edit("account: epr", "account: erp"), wait(r#""problems": \[\]"#));
        format!(
            r#"echo '1. Outbound with a fixed header. The third party received x-api-key, though you sent none.'
curl -s http://{outbound}/mailer/messages -d 'hello'

echo '2. Outbound with OAuth2, twice. Both requests had the same token.'
curl -s 'http://{outbound}/erp/contacts?limit=2'
curl -s 'http://{outbound}/erp/contacts?limit=4'

echo '3. A third party that never answers. After 2 s: 504 with the message of the file.'
curl -s -i -w '\n' http://{outbound}/mailer/slow

echo '4. Inbound: the third party calls its webhook URL. Your receiver is told the user, mailer-bot.'
curl -s -d '{{"event":"delivered"}}' http://{webhooks}/webhooks/{key}/delivered

echo '5. Inbound with an unknown key: 404, webhook_unknown. Your receiver gets nothing.'
curl -s -i -w '\n' -d '{{}}' http://{webhooks}/webhooks/whk_unknown

echo '6. Inbound with a valid key whose user is not active: 403, user_inactive.'
curl -s -i -w '\n' -d '{{}}' http://{webhooks}/webhooks/{former}

echo '7. What was counted: one token request for two requests.'
curl -s http://{admin}/metrics | grep -E '^attache_(requests|errors|token_requests)_total'

echo '8. What attache knows of its accounts. In a browser, http://{admin}/ shows the rest.'
curl -s http://{admin}/status | sed -n '/"accounts"/,/^  }}/p'

echo '9. A change without a restart: step 3 again, now after half a second.'
{change}
{changed}
curl -s -w '\nafter %{{time_total}} s\n' http://{outbound}/mailer/slow

echo '10. A mistake changes nothing. It is shown with its line, also where the demo runs, until it is mended.'
{mistake}
{rejected}
curl -s http://{admin}/status | sed -n '/"last_reload"/,/^    }}/p'
curl -s http://{outbound}/erp/still-served
{mend}
{mended}
"#
        )
    }
}

impl fmt::Display for Guide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "
attache demo: attache, a made-up third party, a token endpoint and your receiver, all on loopback.
The file: {}
Paste the steps into another terminal, one after the other or all of them. Ctrl-C here ends everything.
To run all of them: sh '{}'

{}
",
            self.config.display(),
            self.script.display(),
            self.steps()
        )
    }
}
