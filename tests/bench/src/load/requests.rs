//! Requests, encoded before they are sent.

use std::net::SocketAddrV4;

/// Requests that lie behind each other.
#[derive(Debug)]
pub(crate) struct Requests {
    bytes: Vec<u8>,
    /// Where each begins, and where the last ends.
    bounds: Vec<usize>,
}

impl Requests {
    /// Posts to these paths, with these bodies. There has to be at least one.
    pub(crate) fn posts(
        address: SocketAddrV4,
        posts: impl IntoIterator<Item = (String, Vec<u8>)>,
    ) -> Self {
        let mut requests = Self {
            bytes: Vec::new(),
            bounds: vec![0],
        };
        for (path, body) in posts {
            let length = body.len();
            let head = format!(
                "POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-length: {length}\r\n\r\n"
            );
            requests.bytes.extend_from_slice(head.as_bytes());
            requests.bytes.extend_from_slice(&body);
            requests.bounds.push(requests.bytes.len());
        }
        requests
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.bounds.len() - 1
    }

    /// The bytes of `count` requests from `first` on, or of fewer where the last one comes before; and how many.
    pub(super) fn some(&self, first: usize, count: usize) -> (&[u8], usize) {
        let end = (first + count).min(self.len());
        (
            &self.bytes[self.bounds[first]..self.bounds[end]],
            end - first,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_lie_behind_each_other() {
        let address = "127.0.0.1:80".parse().unwrap();
        let post = |path: &str, body: &str| (path.to_owned(), body.as_bytes().to_vec());
        let requests = Requests::posts(address, [post("/a", ""), post("/b", "xy")]);
        let a = "POST /a HTTP/1.1\r\nhost: 127.0.0.1:80\r\ncontent-length: 0\r\n\r\n";
        let b = "POST /b HTTP/1.1\r\nhost: 127.0.0.1:80\r\ncontent-length: 2\r\n\r\nxy";
        assert_eq!(requests.len(), 2);
        assert_eq!(requests.some(0, 1), (a.as_bytes(), 1));
        assert_eq!(requests.some(1, 3), (b.as_bytes(), 1));
        assert_eq!(requests.some(0, 3), ([a, b].concat().as_bytes(), 2));
    }
}
