//! Where the brokers are: `tcp://host:61613`, or ActiveMQ's `failover:(tcp://a:61613,tcp://b:61613)?option=value`.
//!
//! Options that ActiveMQ knows and that mean nothing here are read over, so that a URI
//! can be copied from another client's configuration; misspelt ones are refused.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::config::{Address, closest};

/// Bounds the list in a URI.
const ADDRESSES_MAX: usize = 64;

/// Options of ActiveMQ's failover transport that do not concern this client.
const READ_OVER: [&str; 14] = [
    "backup",
    "backupPoolSize",
    "maxCacheSize",
    "maxPullCacheSize",
    "nonBlockingSupport",
    "priorityBackup",
    "priorityURIs",
    "randomise",
    "rebalanceUpdateURIs",
    "reconnectSupported",
    "trackMessages",
    "trackTransactionProducers",
    "updateURIsSupported",
    "warnAfterReconnectAttempts",
];

const KNOWN: [&str; 8] = [
    "backOffMultiplier",
    "initialReconnectDelay",
    "maxReconnectAttempts",
    "maxReconnectDelay",
    "randomize",
    "startupMaxReconnectAttempts",
    "timeout",
    "useExponentialBackOff",
];

/// One broker, or several of which one is to be found.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct BrokerUri {
    /// Never empty.
    pub(crate) addresses: Vec<Address>,
    /// `None`: one try, and a lost connection is the end.
    pub(crate) failover: Option<Failover>,
}

/// How to go on after a connection was lost.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Failover {
    /// Begin anywhere in the list.
    pub(crate) randomize: bool,
    /// The pause after the first round of addresses.
    pub(crate) delay_initial: Duration,
    /// No pause is longer.
    pub(crate) delay_max: Duration,
    /// How much longer each pause is than the one before; at least 1.
    pub(crate) multiplier: f64,
    /// Rounds before giving up; `None`: never.
    pub(crate) attempts_max: Option<u32>,
    /// The same for the first connection.
    pub(crate) startup_attempts_max: Option<u32>,
    /// Give up after this; `None`: never.
    pub(crate) timeout: Option<Duration>,
}

impl Default for Failover {
    /// Pauses of about an eighth of the outage so far: a new master is found soon
    /// after it is there, and a long outage is not filled with attempts.
    fn default() -> Self {
        Self {
            randomize: true,
            delay_initial: Duration::from_millis(10),
            delay_max: Duration::from_secs(1),
            multiplier: 1.15,
            attempts_max: None,
            startup_attempts_max: None,
            timeout: None,
        }
    }
}

impl Failover {
    /// The pause after this one.
    pub(crate) fn delay_after(&self, delay: Duration) -> Duration {
        delay.mul_f64(self.multiplier).min(self.delay_max)
    }
}

impl FromStr for BrokerUri {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        match text.strip_prefix("failover:") {
            Some(rest) => failover(rest.strip_prefix("//").unwrap_or(rest)),
            None if text.contains(',') => Err(format!(
                "`{text}` names several brokers: to try each of them, write 'failover:({text})'"
            )),
            None => Ok(Self {
                addresses: vec![address(text)?],
                failover: None,
            }),
        }
    }
}

fn failover(text: &str) -> Result<BrokerUri, String> {
    let (list, query) = match text.strip_prefix('(') {
        Some(rest) => {
            let (list, after) = rest
                .rsplit_once(')')
                .ok_or_else(|| format!("`failover:{text}` lacks the closing parenthesis"))?;
            match after.strip_prefix('?') {
                Some(query) => (list, query),
                None if after.is_empty() => (list, ""),
                None => {
                    return Err(format!(
                        "`{after}` follows the closing parenthesis: options begin with ?"
                    ));
                }
            }
        }
        None => text.split_once('?').unwrap_or((text, "")),
    };
    let addresses = list
        .split(',')
        .map(|one| address(one.trim()))
        .collect::<Result<Vec<Address>, String>>()?;
    if addresses.len() > ADDRESSES_MAX {
        return Err(format!(
            "a broker URI may name up to {ADDRESSES_MAX} brokers"
        ));
    }
    Ok(BrokerUri {
        addresses,
        failover: Some(options(query)?),
    })
}

/// One broker; its own options (`?keepAlive=true`) are for other clients.
fn address(text: &str) -> Result<Address, String> {
    if text.is_empty() {
        return Err(
            "a broker's address is missing: write failover:(tcp://a:61613,tcp://b:61613)"
                .to_owned(),
        );
    }
    let text = text.split_once('?').map_or(text, |(address, _)| address);
    let text = text.strip_suffix('/').unwrap_or(text);
    let found: Address = match text.split_once("://") {
        Some(("stomp", authority)) => Address::from_authority(authority)?,
        Some(("ssl" | "stomp+ssl" | "nio+ssl", _)) => {
            return Err(format!(
                "`{text}` wants TLS, which this client does not speak: use tcp://"
            ));
        }
        _ => text.parse()?,
    };
    if found.port == 0 {
        return Err(format!("`{text}`: nobody listens on port 0"));
    }
    Ok(found)
}

fn options(query: &str) -> Result<Failover, String> {
    let mut failover = Failover::default();
    for option in query.split('&').filter(|option| !option.is_empty()) {
        let (name, value) = option
            .split_once('=')
            .ok_or_else(|| format!("the option `{option}` has no value: write {option}=…"))?;
        set(&mut failover, name, value)?;
    }
    if failover.delay_initial > failover.delay_max {
        failover.delay_max = failover.delay_initial;
    }
    Ok(failover)
}

fn set(failover: &mut Failover, name: &str, value: &str) -> Result<(), String> {
    let refused = |wanted: &str| format!("the option {name}={value} must be {wanted}");
    let flag = || value.parse::<bool>().map_err(|_| refused("true or false"));
    let ms = || {
        let number = value
            .parse()
            .map_err(|_| refused("a number of milliseconds"));
        number.map(Duration::from_millis)
    };
    // Negative means "no limit" to ActiveMQ; 0 "no second attempt".
    let attempts = || match value.parse::<i64>() {
        Ok(..=-1) => Ok(None),
        Ok(number) => Ok(Some(u32::try_from(number).unwrap_or(u32::MAX).max(1))),
        Err(_) => Err(refused("a number of attempts, or -1 for no limit")),
    };
    match name {
        "randomize" => failover.randomize = flag()?,
        "initialReconnectDelay" => failover.delay_initial = ms()?.max(Duration::from_millis(1)),
        "maxReconnectDelay" => failover.delay_max = ms()?.max(Duration::from_millis(1)),
        "useExponentialBackOff" => {
            if !flag()? {
                failover.multiplier = 1.0;
            }
        }
        "backOffMultiplier" => {
            let number = value.parse::<f64>().ok();
            failover.multiplier = number
                .filter(|number| (1.0..=100.0).contains(number))
                .ok_or_else(|| refused("a number from 1 to 100"))?;
        }
        "maxReconnectAttempts" => failover.attempts_max = attempts()?,
        "startupMaxReconnectAttempts" => failover.startup_attempts_max = attempts()?,
        "timeout" => {
            failover.timeout = match value {
                "-1" => None,
                _ => Some(ms()?),
            }
        }
        _ if READ_OVER.contains(&name) => {}
        _ if ["nested.", "jms.", "wireFormat.", "transport."]
            .iter()
            .any(|prefix| name.starts_with(prefix)) => {}
        _ => {
            return Err(match closest(name, &KNOWN) {
                Some(near) => format!("unknown failover option `{name}`: did you mean `{near}`?"),
                None => format!(
                    "unknown failover option `{name}`: this client knows {}",
                    KNOWN.join(", ")
                ),
            });
        }
    }
    Ok(())
}

impl fmt::Display for BrokerUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list: Vec<String> = self.addresses.iter().map(ToString::to_string).collect();
        match self.failover {
            None => f.write_str(&list.join(",")),
            Some(_) => write!(f, "failover:({})", list.join(",")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> BrokerUri {
        text.parse().unwrap()
    }

    #[test]
    fn a_plain_address_is_one_try() {
        for text in [
            "tcp://127.0.0.1:61613",
            "stomp://127.0.0.1:61613",
            "127.0.0.1:61613",
            "tcp://127.0.0.1:61613?keepAlive=true",
        ] {
            let uri = read(text);
            assert_eq!(uri.addresses, [Address::new("127.0.0.1", 61613)], "{text}");
            assert_eq!(uri.failover, None, "{text}");
        }
    }

    #[test]
    fn failover_is_read_in_each_of_its_spellings() {
        for text in [
            "failover:(tcp://a:1,tcp://b:2)",
            "failover://(tcp://a:1,tcp://b:2)",
            "failover:tcp://a:1,tcp://b:2",
            "failover:(tcp://a:1?soTimeout=5,tcp://b:2)?jms.prefetchPolicy.all=1",
            " failover:(a:1, b:2) ",
        ] {
            let uri = read(text);
            assert_eq!(uri.to_string(), "failover:(tcp://a:1,tcp://b:2)", "{text}");
            assert_eq!(uri.failover, Some(Failover::default()), "{text}");
        }
    }

    #[test]
    fn options_are_read_as_activemq_writes_them() {
        let uri = read(
            "failover:(tcp://a:1)?randomize=false&initialReconnectDelay=100&maxReconnectDelay=500&backOffMultiplier=2&maxReconnectAttempts=7&startupMaxReconnectAttempts=-1&timeout=3000&backup=true",
        );
        let failover = uri.failover.unwrap();
        assert!(!failover.randomize);
        assert_eq!(failover.attempts_max, Some(7));
        assert_eq!(failover.startup_attempts_max, None);
        assert_eq!(failover.timeout, Some(Duration::from_secs(3)));
        let second = failover.delay_after(failover.delay_initial);
        assert_eq!(second, Duration::from_millis(200));
        assert_eq!(
            failover.delay_after(Duration::from_millis(400)),
            Duration::from_millis(500)
        );
        let flat = read("failover:(tcp://a:1)?useExponentialBackOff=false")
            .failover
            .unwrap();
        assert_eq!(flat.delay_after(flat.delay_initial), flat.delay_initial);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, reason) in [
            ("failover:()", "a broker's address is missing"),
            ("failover:(tcp://a:1,)", "a broker's address is missing"),
            ("failover:(tcp://a:1", "lacks the closing parenthesis"),
            ("failover:(tcp://a:1)x", "options begin with ?"),
            (
                "failover:(tcp://a:1)?randomise=false&maxReconectAttempts=3",
                "did you mean `maxReconnectAttempts`?",
            ),
            ("failover:(tcp://a:1)?colour=red", "this client knows"),
            (
                "failover:(tcp://a:1)?randomize=perhaps",
                "must be true or false",
            ),
            ("failover:(tcp://a:1)?timeout", "has no value"),
            (
                "failover:(tcp://a:1)?backOffMultiplier=0.5",
                "from 1 to 100",
            ),
            ("failover:(tcp://a)", "the port is missing"),
            ("ssl://a:61614", "wants TLS"),
            ("tcp://a:0", "port 0"),
            (
                "tcp://a:1,tcp://b:2",
                "several brokers: to try each of them, write 'failover:(tcp://a:1,tcp://b:2)'",
            ),
            ("http://a:80", "use tcp://"),
        ] {
            let error = text.parse::<BrokerUri>().unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
