//! One lookup of a name: its AAAA and A records.
//!
//! Both families are queried at the same time. The answer of one is used 50 ms after it arrived, even if the other is
//! still missing (RFC 8305 section 3): a name server that drops AAAA queries must not delay requests.
//!
//! Invariant: an answer is cached for its TTL, at least [`TTL`]`.0` and at most [`TTL`]`.1`.

use super::NoAddress;
use hickory_resolver::TokioResolver;
use hickory_resolver::net::NetError;
use hickory_resolver::proto::rr::RecordType;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// Lower and upper bound for the time that an answer is kept.
const TTL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// The Resolution Delay of RFC 8305 section 3.
const SECOND_FAMILY: Duration = Duration::from_millis(50);

/// Addresses of a name, at least one.
#[derive(Debug, Clone)]
pub(super) struct FoundAddresses {
    pub(super) addresses: Vec<IpAddr>,
    /// End of the TTL.
    pub(super) expires: Instant,
}

/// Why one family has no address.
enum FamilyFault {
    /// NXDOMAIN, which holds for both families.
    NoSuchName,
    NoRecords,
    NameServer(Arc<NetError>),
}

/// Looks `name` up. `early` receives the addresses of one family if those of the other are late; the result has both.
pub(super) async fn look_up(
    resolver: &TokioResolver,
    name: &str,
    early: impl FnOnce(FoundAddresses),
) -> Result<FoundAddresses, NoAddress> {
    if name == "localhost" {
        // RFC 6761 section 6.3: never sent to a name server, whatever its search list.
        let addresses = vec![Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()];
        return Ok(FoundAddresses { addresses, expires: Instant::now() + TTL.1 });
    }
    let mut v6 = pin!(family(resolver, name, RecordType::AAAA));
    let mut v4 = pin!(family(resolver, name, RecordType::A));
    let (first, mut second) = tokio::select! {
        first = v6.as_mut() => (first, v4),
        first = v4.as_mut() => (first, v6),
    };
    let second = match &first {
        Err(_) => second.await,
        Ok(found) => match timeout(SECOND_FAMILY, second.as_mut()).await {
            Ok(second) => second,
            Err(_) => {
                early(found.clone());
                second.await
            }
        },
    };
    merge(first, second)
}

async fn family(
    resolver: &TokioResolver,
    name: &str,
    records: RecordType,
) -> Result<FoundAddresses, FamilyFault> {
    let answers = match resolver.lookup(name, records).await {
        Ok(answers) => answers,
        Err(error) if error.is_nx_domain() => return Err(FamilyFault::NoSuchName),
        Err(error) if error.is_no_records_found() => return Err(FamilyFault::NoRecords),
        Err(error) => return Err(FamilyFault::NameServer(Arc::new(error))),
    };
    let addresses: Vec<IpAddr> =
        answers.answers().iter().filter_map(|record| record.data.ip_addr()).collect();
    if addresses.is_empty() {
        return Err(FamilyFault::NoRecords);
    }
    // The shortest TTL counts, including those of a chain of aliases.
    let ttl = answers.answers().iter().map(|record| record.ttl).min().unwrap_or(0);
    let ttl = Duration::from_secs(ttl.into()).clamp(TTL.0, TTL.1);
    Ok(FoundAddresses { addresses, expires: Instant::now() + ttl })
}

fn merge(
    one: Result<FoundAddresses, FamilyFault>,
    other: Result<FoundAddresses, FamilyFault>,
) -> Result<FoundAddresses, NoAddress> {
    match (one, other) {
        (Ok(mut one), Ok(other)) => {
            one.addresses.extend(other.addresses);
            one.expires = one.expires.min(other.expires);
            Ok(one)
        }
        (Ok(found), Err(_)) | (Err(_), Ok(found)) => Ok(found),
        (Err(FamilyFault::NoSuchName), Err(_)) | (Err(_), Err(FamilyFault::NoSuchName)) => {
            Err(NoAddress::NotFound)
        }
        // Without an answer for one family, the absence of the other is not conclusive.
        (Err(FamilyFault::NameServer(error)), Err(_)) | (Err(_), Err(FamilyFault::NameServer(error))) => {
            Err(NoAddress::NameServer(error))
        }
        (Err(FamilyFault::NoRecords), Err(FamilyFault::NoRecords)) => Err(NoAddress::NotFound),
    }
}
