//! `--check-health`: asks the one that runs whether it is ready, for supervisors of containers, whose images have no
//! program that speaks HTTP.

use std::{io, net::IpAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::metrics::MetricsAddress;

/// How long the answer may take in all.
const TIMEOUT: Duration = Duration::from_secs(2);
/// The answer is one word. What is longer comes from somebody else.
const ANSWER_BYTES_MAX: u64 = 4096;

/// Asks for `/readyz` at the address.
///
/// # Errors
///
/// One sentence that says why it is not ready, or that nobody answered.
pub(crate) async fn ask(address: &MetricsAddress) -> Result<(), String> {
    let address = reachable(address);
    let answer = match timeout(TIMEOUT, exchange(&address)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(cause)) => return Err(format!("nobody answers at {address}: {cause}")),
        Err(_) => return Err(format!("nobody answers at {address} within {TIMEOUT:?}")),
    };
    let mut lines = answer.lines();
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 "));
    match status {
        Some(status) if status.starts_with("200") => Ok(()),
        Some(_) => Err(format!("not ready: {}", lines.last().unwrap_or_default())),
        None => Err(format!("what answers at {address} is not Glance")),
    }
}

/// Who listens on all addresses is asked at the one of this machine.
fn reachable(address: &MetricsAddress) -> MetricsAddress {
    let host = match address.host.parse() {
        Ok(IpAddr::V4(ip)) if ip.is_unspecified() => "127.0.0.1".to_owned(),
        Ok(IpAddr::V6(ip)) if ip.is_unspecified() => "::1".to_owned(),
        _ => address.host.clone(),
    };
    MetricsAddress {
        host,
        port: address.port,
    }
}

async fn exchange(address: &MetricsAddress) -> io::Result<String> {
    let mut stream = TcpStream::connect((address.host.as_str(), address.port)).await?;
    let request = format!("GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut bytes = Vec::new();
    stream
        .take(ANSWER_BYTES_MAX)
        .read_to_end(&mut bytes)
        .await?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_addresses_are_asked_at_the_one_of_this_machine() {
        for (given, asked) in [
            ("0.0.0.0:9464", "127.0.0.1:9464"),
            ("[::]:9464", "[::1]:9464"),
            ("10.0.0.7:9464", "10.0.0.7:9464"),
        ] {
            assert_eq!(reachable(&given.parse().unwrap()).to_string(), asked);
        }
    }
}
