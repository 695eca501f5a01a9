//! A client that shows the exact answers.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use super::LIMIT;

/// One connection, kept alive.
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
}

/// An answer, with its headers as they were sent.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(given, _)| given == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Checks an error: its status, its exact body, its type.
    #[track_caller]
    pub(crate) fn assert_error(&self, status: u16, error: &str) {
        let body = serde_json::json!({ "error": error }).to_string();
        assert_eq!((self.status, self.body.as_str()), (status, body.as_str()));
        assert_eq!(self.header("content-type"), Some("application/json"));
        assert_eq!(self.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(
            self.header("retry-after").is_some(),
            status == 503,
            "{self:?}"
        );
    }

    /// Checks a 204: no body, and no header about one.
    #[track_caller]
    pub(crate) fn assert_accepted(&self) {
        assert_eq!((self.status, self.body.as_str()), (204, ""), "{self:?}");
        for name in [
            "content-type",
            "content-length",
            "retry-after",
            "transfer-encoding",
        ] {
            assert_eq!(self.header(name), None, "{self:?}");
        }
    }
}

impl Client {
    /// A connection, if the port takes one.
    pub(crate) async fn try_connect(port: u16) -> Option<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
        Some(Self {
            stream: BufReader::new(stream),
        })
    }

    pub(crate) async fn connect(port: u16) -> Self {
        Self::try_connect(port).await.unwrap()
    }

    /// Connects from an address of its own, all of which are this machine: wrong passphrases count for each.
    pub(crate) async fn connect_from(address: [u8; 4], port: u16) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((address, 0).into()).unwrap();
        let stream = socket.connect(([127, 0, 0, 1], port).into()).await.unwrap();
        Self {
            stream: BufReader::new(stream),
        }
    }

    pub(crate) async fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        self.send_head(method, path, headers, body.len()).await;
        self.write(body).await;
        self.answer(method).await
    }

    pub(crate) async fn send_head(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        length: usize,
    ) {
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: test\r\n");
        if length > 0 {
            head += &format!("content-length: {length}\r\n");
        }
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += "\r\n";
        self.write(head.as_bytes()).await;
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).await.unwrap();
    }

    /// Sends bytes; `false` if the other side takes no more.
    pub(crate) async fn try_write(&mut self, bytes: &[u8]) -> bool {
        self.stream.get_mut().write_all(bytes).await.is_ok()
    }

    /// Says that no more will be sent.
    pub(crate) async fn finish(&mut self) {
        self.stream.get_mut().shutdown().await.unwrap();
    }

    /// Reads one answer. Nothing may take longer than the limit.
    pub(crate) async fn answer(&mut self, method: &str) -> Answer {
        timeout(LIMIT, self.read_answer(method))
            .await
            .expect("an answer in time")
    }

    async fn read_answer(&mut self, method: &str) -> Answer {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.stream.read_u8().await.expect("an answer"));
        }
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap();
        let headers: Vec<(String, String)> = lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let mut answer = Answer {
            status: status.parse().unwrap(),
            headers,
            body: String::new(),
        };
        let length = answer
            .header("content-length")
            .map(|text| text.parse().unwrap());
        let length: usize = if method == "HEAD" {
            0
        } else {
            length.unwrap_or(0)
        };
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await.unwrap();
        answer.body = String::from_utf8(body).unwrap();
        answer
    }

    /// Whether the other side has closed the connection.
    pub(crate) async fn is_closed(&mut self) -> bool {
        matches!(self.stream.read(&mut [0; 1]).await, Ok(0) | Err(_))
    }
}
