//! Offers over a real pair of sockets.

use std::io::Write as _;
use std::time::Duration;

use super::*;
use crate::listen::socket::bind;

fn pair() -> (StdUnixStream, StdUnixStream) {
    let (one, other) = StdUnixStream::pair().unwrap();
    other.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    (one, other)
}

fn receive_what(bytes: &[u8]) -> io::Error {
    let (mut one, other) = pair();
    one.write_all(bytes).unwrap();
    drop(one);
    receive(&other).unwrap_err()
}

#[tokio::test]
async fn sockets_arrive_in_their_order_however_many() {
    let any = Address::from(SocketAddr::from(([127, 0, 0, 1], 0)));
    let sockets: Vec<StdListener> = (0..2 * SOCKETS_AT_ONCE + 3).flat_map(|_| bind(&any, None, 1).unwrap().1).collect();
    let address = |socket: &StdListener| StdListener::inherit(socket.as_fd().try_clone_to_owned().unwrap()).unwrap().1;
    let listener = OfferedListener { name: "web".into(), wanted: (&any).into(), file: Some((1, 2)), sockets: 3 };
    let offer = Offer { from: "0.1.0".into(), listeners: vec![listener], ..Offer::default() };
    let (one, other) = pair();
    one.set_nonblocking(true).unwrap();
    let received = std::thread::spawn(move || receive(&other).unwrap());
    send(&mut UnixStream::from_std(one).unwrap(), &offer, &sockets).await.unwrap();
    let (heard, arrived) = received.join().unwrap();
    assert_eq!(heard, offer);
    let arrived: Vec<Address> = arrived.into_iter().map(|socket| StdListener::inherit(socket).unwrap().1).collect();
    assert_eq!(arrived, sockets.iter().map(address).collect::<Vec<_>>());
}

#[test]
fn what_is_no_offer_is_refused() {
    assert_eq!(receive_what(b"GET / HTTP/1.1\r\n\r\n").to_string(), "it does not begin as an offer does");
    assert_eq!(receive_what(b"unstick\n\xff\xff\xff\xff\0\0\0\0").to_string(), "it is too large");
    assert_eq!(receive_what(b"unstick\n\0\0\0\0\xff\0\0\0").to_string(), "it is too large");
    assert!(receive_what(b"unstick\n\0\0\0\x01\0\0\0\x02.{}").to_string().starts_with("sockets are missing"));
    assert_eq!(receive_what(b"unstick\n\0\0\0\0\0\0\0\x05{}").kind(), io::ErrorKind::UnexpectedEof);
    assert_eq!(receive_what(b"unst").kind(), io::ErrorKind::UnexpectedEof);
}

#[test]
fn another_version_may_say_more_or_less() {
    let more = r#"{"later": 1, "listeners": [{"name": "a", "wanted": {"unix": "/a"}, "sockets": 1, "later": []}]}"#;
    let offer: Offer = serde_json::from_str(more).unwrap();
    assert_eq!((offer.listeners[0].wanted.clone(), offer.admin), (Place::Unix("/a".into()), false));
    assert_eq!(serde_json::from_str::<Word>(r#"{"ready": {"later": 1}}"#).unwrap(), Word::Ready(Taken::default()));
}

#[tokio::test]
async fn whoever_is_gone_has_said_nothing() {
    let (one, other) = UnixStream::pair().unwrap();
    let (mut one, mut other) = (BufReader::new(one), BufReader::new(other));
    say(&mut one, &Word::Go).await.unwrap();
    say(&mut one, &Word::Refused("two\nlines".into())).await.unwrap();
    one.get_mut().write_all(b"\"serv").await.unwrap();
    drop(one);
    assert_eq!(hear(&mut other).await.unwrap(), Some(Word::Go));
    assert_eq!(hear(&mut other).await.unwrap(), Some(Word::Refused("two\nlines".into())));
    assert_eq!(hear(&mut other).await.unwrap(), None);
}
