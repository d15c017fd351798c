//! Faults in front of a server that is not ours.

use std::io;
use std::net::SocketAddr;
use std::ops::Deref;

use http_body_util::BodyExt;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use s3s::{Body, HttpRequest, HttpResponse};
use tokio::net::TcpStream;

use crate::faults::Faults;
use crate::running::{Backend, Running};

/// A server that hands every request on to another one, unless a rule says otherwise; it stops when dropped.
///
/// Signatures over the name of the host, as S3 has them, do not survive it; those of Azure do.
#[derive(Debug)]
pub struct FaultProxy {
    running: Running,
}

impl FaultProxy {
    /// Stands in front of the server at this address.
    pub fn start(upstream: SocketAddr) -> Self {
        Self { running: Running::start(Backend::Proxy(upstream)) }
    }

    /// `http://127.0.0.1:port`.
    pub fn endpoint(&self) -> String {
        self.running.endpoint()
    }
}

impl Deref for FaultProxy {
    type Target = Faults;

    fn deref(&self) -> &Faults {
        &self.running.faults
    }
}

/// Asks the server behind; an error closes the connection.
pub(crate) async fn hand_on(upstream: SocketAddr, request: HttpRequest) -> io::Result<HttpResponse> {
    let stream = TcpStream::connect(upstream).await?;
    let (mut sender, connection) = http1::Builder::new()
        .preserve_header_case(true)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(other)?;
    let answer = async {
        let answer = sender.send_request(request).await.map_err(other)?;
        let (head, body) = answer.into_parts();
        let bytes = body.collect().await.map_err(other)?.to_bytes();
        Ok(HttpResponse::from_parts(head, Body::from(bytes)))
    };
    tokio::select! {
        answer = answer => answer,
        ended = connection => Err(ended.err().map_or_else(|| io::Error::other("the server hung up"), other)),
    }
}

fn other(error: hyper::Error) -> io::Error {
    io::Error::other(error)
}
