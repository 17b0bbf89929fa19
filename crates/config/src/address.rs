//! `host:port`.

/// A control address in its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Address<'a> {
    /// A name, an IPv4 address, or an IPv6 address without its brackets.
    pub(crate) host: &'a str,
    pub(crate) port: u16,
}

impl<'a> Address<'a> {
    /// Reads `host:port` or `[ipv6]:port`.
    pub(crate) fn parse(text: &'a str) -> Result<Address<'a>, &'static str> {
        let (host, port) = text.rsplit_once(':').ok_or("its port is missing, write host:port")?;
        let host = match host.strip_prefix('[').map(|rest| rest.strip_suffix(']')) {
            Some(Some(inside)) if inside.parse::<std::net::Ipv6Addr>().is_ok() => inside,
            Some(_) => return Err("what is in brackets is not an IPv6 address, write [address]:port"),
            None if host.contains(':') => return Err("an IPv6 address needs brackets, write [address]:port"),
            None => host,
        };
        if host.is_empty() {
            return Err("its host is missing, write host:port");
        }
        if host.chars().any(|c| c.is_whitespace() || c.is_control() || c == '/') {
            return Err("its host has a character that no host has, write host:port");
        }
        if port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err("its port is not a number");
        }
        let port = port.parse().map_err(|_| "its port exceeds 65535")?;
        Ok(Address { host, port })
    }

    /// Whether it stands for all addresses of the host, which nobody can dial.
    pub(crate) fn is_wildcard(self) -> bool {
        self.host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_unspecified())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_as_written() {
        assert_eq!(Address::parse("10.0.0.1:7400"), Ok(Address { host: "10.0.0.1", port: 7400 }));
        assert_eq!(Address::parse("node-1.rack:0"), Ok(Address { host: "node-1.rack", port: 0 }));
        assert_eq!(Address::parse("[::1]:7400"), Ok(Address { host: "::1", port: 7400 }));
        assert!(Address::parse("0.0.0.0:7400").unwrap().is_wildcard());
        assert!(Address::parse("[::]:7400").unwrap().is_wildcard());
        assert!(!Address::parse("localhost:7400").unwrap().is_wildcard());
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "localhost",
            ":7400",
            "localhost:",
            "localhost:x",
            "localhost:+1",
            "localhost:65536",
            "::1:7400",
            "[]:1",
            "[::1:7400",
            "[host]:7400",
            "a b:7400",
            "tcp://a:7400",
        ] {
            assert!(Address::parse(text).is_err(), "{text:?}");
        }
    }
}
