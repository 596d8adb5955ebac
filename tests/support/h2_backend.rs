//! Replicas that speak HTTP/2, in plain text or in TLS, and do what a test tells them.

use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

use super::tls::Pair;

/// A request, and the means to respond to it.
pub(crate) struct Call {
    pub(crate) request: Request<RecvStream>,
    pub(crate) respond: SendResponse<Bytes>,
    /// The number of the connection, counted from 0.
    pub(crate) connection: usize,
}

impl Call {
    /// Starts a response.
    pub(crate) fn answer(&mut self, head: http::response::Builder) -> SendStream<Bytes> {
        self.respond.send_response(head.body(()).unwrap(), false).unwrap()
    }

    /// Responds with a text.
    pub(crate) fn say(mut self, text: &str) {
        self.answer(Response::builder()).send_data(Bytes::from(text.to_owned()), true).unwrap();
    }

    /// Reads the whole body and its trailers.
    pub(crate) async fn body(&mut self) -> (Vec<u8>, Option<HeaderMap>) {
        let body = self.request.body_mut();
        (super::h2::read(body).await.unwrap_or_default(), body.trailers().await.unwrap_or_default())
    }
}

/// A listening socket that speaks HTTP/2. Dropping it closes it.
pub(crate) struct H2Backend {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
    stop: Option<oneshot::Sender<()>>,
}

type Script = Rc<dyn Fn(Call) -> Pin<Box<dyn Future<Output = ()>>>>;

impl H2Backend {
    /// Runs `script` for each request.
    pub(crate) fn start<F: Future<Output = ()> + 'static>(script: impl Fn(Call) -> F + Send + 'static) -> Self {
        Self::start_with(h2::server::Builder::new(), None, script)
    }

    /// As [`Self::start`], with other settings or in TLS.
    pub(crate) fn start_with<F: Future<Output = ()> + 'static>(
        builder: h2::server::Builder,
        tls: Option<ServerConfig>,
        script: impl Fn(Call) -> F + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        let (stop, stopped) = oneshot::channel();
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&connections);
        let open = Arc::new(AtomicUsize::new(0));
        let open_now = Arc::clone(&open);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let tasks = tokio::task::LocalSet::new();
            let script: Script = Rc::new(move |call| Box::pin(script(call)));
            tasks.block_on(&runtime, async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let acceptor = tls.map(|config| TlsAcceptor::from(Arc::new(config)));
                let serve = async {
                    loop {
                        let (stream, _) = listener.accept().await.unwrap();
                        stream.set_nodelay(true).unwrap();
                        let number = counter.fetch_add(1, Relaxed);
                        let (builder, script, acceptor) = (builder.clone(), Rc::clone(&script), acceptor.clone());
                        let open = Arc::clone(&open_now);
                        open.fetch_add(1, Relaxed);
                        tokio::task::spawn_local(async move {
                            match acceptor {
                                Some(acceptor) => {
                                    if let Ok(stream) = acceptor.accept(stream).await {
                                        speak(stream, &builder, &script, number).await;
                                    }
                                }
                                None => speak(stream, &builder, &script, number).await,
                            }
                            open.fetch_sub(1, Relaxed);
                        });
                    }
                };
                tokio::select! { () = serve => {}, _ = stopped => {} }
            });
        });
        Self { address, connections, open, stop: Some(stop) }
    }

    /// Responds to every request with its name.
    pub(crate) fn named(name: &'static str) -> Self {
        Self::start(move |call| async move { call.say(name) })
    }

    /// The number of connections accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Relaxed)
    }

    /// The number of connections that are open.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Relaxed)
    }
}

impl Drop for H2Backend {
    fn drop(&mut self) {
        self.stop.take();
    }
}

async fn speak<T>(stream: T, builder: &h2::server::Builder, script: &Script, number: usize)
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        tokio::task::spawn_local(script(Call { request, respond, connection: number }));
    }
}

/// The TLS settings of such a replica.
pub(crate) fn tls(pair: &Pair, alpn: &[&str], clients: Option<&Path>) -> ServerConfig {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let chain = CertificateDer::pem_file_iter(&pair.cert).unwrap().map(Result::unwrap).collect();
    let builder =
        ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions().unwrap();
    let builder = match clients {
        Some(file) => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_file(file).unwrap()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(chain, PrivateKeyDer::from_pem_file(&pair.key).unwrap()).unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    config
}
