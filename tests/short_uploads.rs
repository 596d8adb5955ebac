//! Clients of HTTP/2 that end an upload short of its length because they were answered before they had sent it.
//!
//! curl (7.88) does so when it gets an error. h2 resets the stream of such a request, and with it would go what the
//! client has not got yet of the response.

use std::net::SocketAddr;
use std::sync::{Mutex, mpsc};

use bytes::Bytes;
use http::{Request, Response};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::support::backend::{Backend, answer};
use crate::support::h2::{begin, client, get, read, run, whole};
use crate::support::h2_backend::H2Backend;
use crate::support::{App, SOON, eventually, send};

const LENGTH: usize = 1000;

/// A replica that refuses an upload: it sends the head of its response, the rest when it is told to, and reads on.
struct Refusing {
    address: SocketAddr,
    go_on: Box<dyn Fn()>,
    /// How much of the upload came, when nothing more does.
    came: mpsc::Receiver<usize>,
    _alive: Box<dyn std::any::Any>,
}

fn refusing_h1() -> Refusing {
    let ((told, go_on), (came, has_come)) = (mpsc::channel::<()>(), mpsc::channel());
    let (go_on, came) = (Mutex::new(go_on), Mutex::new(came));
    let backend = Backend::start(move |peer| {
        while let Some(head) = peer.next_head() {
            if head.starts_with("GET") {
                send(&mut peer.stream, answer("ok"));
                continue;
            }
            send(&mut peer.stream, "HTTP/1.1 404 Nothing\r\nContent-Length: 9\r\n\r\n");
            go_on.lock().unwrap().recv_timeout(SOON).unwrap();
            send(&mut peer.stream, "not found");
            while peer.ahead.len() < LENGTH && peer.fill().is_some() {}
            came.lock().unwrap().send(peer.ahead.len()).unwrap();
            peer.ahead.clear();
        }
    });
    let go_on = Box::new(move || told.send(()).unwrap());
    Refusing { address: backend.address, go_on, came: has_come, _alive: Box::new(backend) }
}

fn refusing_h2() -> Refusing {
    let (came, has_come) = mpsc::channel();
    let (told, go_on) = unbounded_channel();
    let go_on = std::sync::Arc::new(tokio::sync::Mutex::new(go_on));
    let backend = H2Backend::start(move |mut call| {
        let (came, go_on) = (came.clone(), std::sync::Arc::clone(&go_on));
        async move {
            if call.request.method() == "GET" {
                return call.say("ok");
            }
            let mut response = call.answer(Response::builder().status(404).header("content-length", 9));
            go_on.lock().await.recv().await.unwrap();
            response.send_data(Bytes::from_static(b"not found"), true).unwrap();
            let mut length = 0;
            while let Some(Ok(part)) = call.request.body_mut().data().await {
                call.request.body_mut().flow_control().release_capacity(part.len()).unwrap();
                length += part.len();
            }
            came.send(length).unwrap();
        }
    });
    let go_on = Box::new(move || UnboundedSender::send(&told, ()).unwrap());
    Refusing { address: backend.address, go_on, came: has_come, _alive: Box::new(backend) }
}

/// Each way to such a replica: over HTTP/1.1, over HTTP/2, and through a second proxy, over HTTP/2 in between.
fn everywhere(test: impl Fn(&App, &Refusing)) {
    let (h1, h2) = (refusing_h1(), refusing_h2());
    let over_h2 = |address| App::builder(&[address]).pool("protocol = \"h2c\"").start();
    let inner = App::over(&[h1.address]);
    for (app, next, replica) in [
        (&inner, h1.address, &h1),
        (&over_h2(inner.address), inner.address, &h1),
        (&over_h2(h2.address), h2.address, &h2),
    ] {
        test(app, replica);
        eventually("nothing is under way", || app.endpoint(next).unwrap()["in_flight"] == 0);
        assert_eq!(app.endpoint(next).unwrap()["failures"], 0);
    }
}

/// Begins the upload, and waits for the head of the response.
async fn refused(app: &App) -> (h2::client::SendRequest<Bytes>, h2::SendStream<Bytes>, h2::RecvStream) {
    let client = client(app.address).await;
    let request = Request::post("http://a.test/").header("content-length", LENGTH).body(()).unwrap();
    let (response, mut upload) = begin(&client, request, false).await;
    upload.send_data(vec![b'x'; 100].into(), false).unwrap();
    let response = response.await.unwrap();
    assert_eq!(response.status(), 404);
    (client, upload, response.into_body())
}

#[test]
fn a_client_that_stops_its_upload_at_an_error_gets_the_rest_of_the_response() {
    everywhere(|app, replica| {
        run(async {
            let (client, mut upload, mut response) = refused(app).await;
            upload.send_data(Bytes::new(), true).unwrap();
            // When this is answered, the proxy has seen the end too.
            assert_eq!(get(&client, "/").await.unwrap(), (200, "ok".to_owned()));
            (replica.go_on)();
            assert_eq!(read(&mut response).await.unwrap(), b"not found");
            assert_eq!(get(&client, "/").await.unwrap(), (200, "ok".to_owned()), "the connection goes on");
        });
        assert!(replica.came.recv_timeout(SOON).unwrap() < LENGTH, "the replica is not told that it was all");
    });
}

#[test]
fn a_client_that_ends_its_upload_after_an_error_with_an_empty_frame_has_sent_it_whole() {
    everywhere(|app, replica| {
        run(async {
            let (client, mut upload, mut response) = refused(app).await;
            upload.send_data(vec![b'x'; LENGTH - 100].into(), false).unwrap();
            upload.send_data(Bytes::new(), true).unwrap();
            assert_eq!(get(&client, "/").await.unwrap(), (200, "ok".to_owned()));
            (replica.go_on)();
            assert_eq!(read(&mut response).await.unwrap(), b"not found");
            let request = Request::get("http://a.test/").body(()).unwrap();
            let (head, body, _) = whole(begin(&client, request, true).await.0).await.unwrap();
            assert_eq!((head.status().as_u16(), &body[..]), (200, &b"ok"[..]), "the connection goes on");
        });
        assert_eq!(replica.came.recv_timeout(SOON).unwrap(), LENGTH);
    });
}

/// h2 takes no more than a hundred empty frames of a connection.
#[test]
fn any_number_of_uploads_may_end_so_on_one_connection() {
    let replica = refusing_h1();
    let app = App::over(&[replica.address]);
    run(async {
        let client = client(app.address).await;
        for _ in 0..150 {
            let request = Request::post("http://a.test/").header("content-length", LENGTH).body(()).unwrap();
            let (response, mut upload) = begin(&client, request, false).await;
            let mut response = response.await.unwrap().into_body();
            upload.send_data(Bytes::new(), true).unwrap();
            assert_eq!(get(&client, "/").await.unwrap().0, 200);
            (replica.go_on)();
            assert_eq!(read(&mut response).await.unwrap(), b"not found");
        }
    });
}
