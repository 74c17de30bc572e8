//! What carries a connection's bytes: TCP itself, or TLS over it.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};
use zeroize::Zeroize as _;

use super::link::End;
use super::tls::{Security, is_by_certificate};
use crate::base::id::DomainKey;

/// Read at a time; the buffer is on the stack, so idle connections cost none.
const READ: usize = 16 * 1024;

pub(super) enum Carrier {
    Plain(TcpStream),
    Secure(Box<TlsStream<TcpStream>>),
}

impl Carrier {
    /// Our side of a handshake that the other end begins.
    pub(super) async fn accept(
        stream: TcpStream,
        tls: Option<Arc<rustls::ServerConfig>>,
    ) -> Result<Self, End> {
        let tls = tls.ok_or(End::TlsHandshake)?;
        match TlsAcceptor::from(tls).accept(stream).await {
            Ok(stream) => Ok(Self::Secure(Box::new(stream.into()))),
            Err(error) => Err(refusal(&error)),
        }
    }

    /// A handshake with whom we have called, and a look at who it is.
    pub(super) async fn connect(
        stream: TcpStream,
        security: &Security,
        peer: SocketAddr,
        domain: Option<DomainKey>,
    ) -> Result<Self, End> {
        let client = security.client.clone().ok_or(End::NotOpened)?;
        let name = security.name(peer, domain).ok_or(End::NotOpened)?;
        match TlsConnector::from(client).connect(name, stream).await {
            Ok(stream) => Ok(Self::Secure(Box::new(stream.into()))),
            Err(error) => Err(refusal(&error)),
        }
    }

    /// The certificate that the other end has shown and that was found good.
    pub(super) fn certificate(&self) -> Option<&CertificateDer<'static>> {
        match self {
            Self::Plain(_) => None,
            Self::Secure(stream) => stream.get_ref().1.peer_certificates()?.first(),
        }
    }

    pub(super) fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Secure(stream) => stream.get_ref().0,
        }
    }

    /// Says goodbye as far as that is possible at once: the last words, and that nothing more comes.
    pub(super) async fn close(mut self, words: Option<Vec<u8>>) {
        std::future::poll_fn(|context| {
            if let Some(words) = &words {
                let _ = Pin::new(&mut self).poll_write(context, words);
            }
            // Of TCP the system says it.
            if matches!(self, Self::Secure(_)) {
                let _ = Pin::new(&mut self).poll_shutdown(context);
            }
            Poll::Ready(())
        })
        .await;
    }
}

fn refusal(error: &io::Error) -> End {
    if is_by_certificate(error) { End::PeerCertificate } else { End::TlsHandshake }
}

/// Reads what is there, or waits for something; `take` gets it. 0: the other end is done.
pub(super) async fn read(
    from: &mut (impl AsyncRead + Unpin),
    mut take: impl FnMut(&[u8]),
) -> io::Result<usize> {
    std::future::poll_fn(|context| {
        let mut bytes = [0; READ];
        let mut buffer = ReadBuf::new(&mut bytes);
        match Pin::new(&mut *from).poll_read(context, &mut buffer) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) => {
                take(buffer.filled());
                let length = buffer.filled().len();
                // It may have been keys.
                buffer.filled_mut().zeroize();
                Poll::Ready(Ok(length))
            }
        }
    })
    .await
}

impl AsyncRead for Carrier {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Secure(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Carrier {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Secure(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Secure(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Secure(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
