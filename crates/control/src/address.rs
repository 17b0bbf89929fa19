//! Addresses as configurations write them: `host:port`.

/// The host of `address`: what a node fails together with, unless it says otherwise.
pub fn host_of(address: &str) -> &str {
    address.rsplit_once(':').map_or(address, |(host, _)| host)
}

/// `listen` with the port that it turned out to be.
pub fn with_port(listen: &str, port: u16) -> String {
    format!("{}:{port}", host_of(listen))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_filled_in() {
        assert_eq!(with_port("127.0.0.1:0", 99), "127.0.0.1:99");
        assert_eq!(with_port("[::1]:0", 99), "[::1]:99");
        assert_eq!(with_port("node-1:7400", 7400), "node-1:7400");
    }
}
