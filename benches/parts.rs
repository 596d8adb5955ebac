//! What a request needs besides moving bytes: finding its pool, picking an endpoint, preparing the header fields, and
//! a rate limit if its route has one.
//!
//! `cargo bench --features bench`; see README.md beside this file.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;
use std::time::Duration;

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use http::Method;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;
use unstick::config::model::{Algorithm, HostPattern, PathPattern, Route};
use unstick::pool::balance::{Balance, Candidates, Dice};
use unstick::proxy::bench::Fields;
use unstick::rate::{Limiter, Memory, Per, Rule};
use unstick::snapshot::asked::Asked;
use unstick::snapshot::routes::Routes;

criterion_group!(parts, routes, picks, fields, rates);
criterion_main!(parts);

/// A route for a host and a path, as the file would name them.
fn route(host: HostPattern, path: PathPattern) -> Route {
    Route { host: vec![host], path, ..Route::default() }
}

/// Tables of 3 and 10,000 routes: hosts with three routes each, one wildcard, and one route for all other hosts. And as
/// many paths of one host.
fn routes(criterion: &mut Criterion) {
    let prefix = |path: &str| PathPattern::Prefix(path.to_owned());
    let hosts = |number: usize| {
        let name = format!("shop-{number}.example.com");
        ["/", "/api", "/api/v2/orders"].map(|path| route(HostPattern::Exact(name.clone()), prefix(path)))
    };
    let table = |hosts_count: usize| {
        let others =
            [route(HostPattern::Any, prefix("/")), route(HostPattern::Below("example.net".to_owned()), prefix("/"))];
        Routes::new((0..hosts_count).flat_map(hosts).chain(others).collect())
    };
    let paths = |count: usize| {
        let path = |number: usize| route(HostPattern::Any, PathPattern::Prefix(format!("/p/{number}")));
        Routes::new((0..count).map(path).chain([route(HostPattern::Any, prefix("/"))]).collect())
    };
    let (few, many) = (table(3), table(3_333));
    let (few_paths, many_paths) = (paths(10), paths(10_000));
    let only = Routes::new([Route::default()].into());
    let headers = HeaderMap::new();
    let mut group = criterion.benchmark_group("routes");
    for (name, routes, host, path) in [
        ("one route", &only, "shop-2.example.com", "/api/v2/orders/1"),
        ("exact host of 11", &few, "shop-2.example.com", "/api/v2/orders/1"),
        ("exact host of 10,000", &many, "shop-2.example.com", "/api/v2/orders/1"),
        ("upper case and port, of 10,000", &many, "Shop-7.Example.com:8080", "/cart"),
        ("wildcard of 11", &few, "a.example.net", "/"),
        ("wildcard of 10,000", &many, "a.example.net", "/"),
        ("any host of 10,000", &many, "other.example.org", "/"),
        ("path of 11", &few_paths, "other.example.org", "/p/7/x"),
        ("path of 10,001", &many_paths, "other.example.org", "/p/7/x"),
        ("path in disguise, of 10,001", &many_paths, "other.example.org", "/p/./%37/x"),
    ] {
        let asked =
            |host, path| Asked { listener: "", host, path, query: None, method: &Method::GET, headers: &headers };
        let find = || routes.find(&asked(black_box(host), black_box(path)));
        assert!(find().is_ok(), "{name}");
        group.bench_function(name, |bencher| bencher.iter(find));
    }
    group.finish();
}

/// Endpoints of different weights and loads; one of four is not eligible.
struct Endpoints(u32);

impl Candidates for Endpoints {
    fn count(&self) -> usize {
        self.0 as usize
    }
    fn eligible(&self, index: usize) -> bool {
        index % 4 != 3
    }
    fn weight(&self, index: usize) -> u32 {
        1 + index as u32 % 3
    }
    fn in_flight(&self, index: usize) -> u32 {
        index as u32 * 7 % 11
    }
    fn failure_load(&self, _: usize) -> u32 {
        0
    }
    fn latency_ns(&self, index: usize) -> u64 {
        1_000_000 + index as u64 * 7_919 % 1_000
    }
}

struct Chance {
    random: fastrand::Rng,
    turns: u64,
}

impl Dice for Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.random.u64(..bound)
    }
    fn turn(&mut self) -> u64 {
        self.turns += 1;
        self.turns
    }
}

fn picks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("picks");
    for &algorithm in Algorithm::ALL {
        for count in [3, 100] {
            let endpoints = Endpoints(count);
            let weights: Vec<u32> = (0..endpoints.count()).map(|index| endpoints.weight(index)).collect();
            let balance = Balance::new(algorithm, &weights);
            let mut chance = Chance { random: fastrand::Rng::with_seed(1), turns: 0 };
            group.bench_function(BenchmarkId::new(algorithm.to_string(), count), |bencher| {
                bencher.iter(|| balance.pick(black_box(&endpoints), &mut chance));
            });
        }
    }
    group.finish();
}

/// What curl sends besides `Host`.
const CURL: &[(&str, &str)] = &[("host", "shop.example.com"), ("user-agent", "curl/8.5.0"), ("accept", "*/*")];
/// What a browser sends.
const BROWSER: &[(&str, &str)] = &[
    ("host", "shop.example.com"),
    ("connection", "keep-alive"),
    ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
    ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    ("accept-language", "en-US,en;q=0.5"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("referer", "https://shop.example.com/"),
    ("cookie", "cart=0123456789abcdef0123456789abcdef; theme=dark"),
    ("sec-fetch-dest", "document"),
    ("sec-fetch-mode", "navigate"),
    ("upgrade-insecure-requests", "1"),
];
/// What a replica answers.
const RESPONSE: &[(&str, &str)] = &[
    ("server", "replica"),
    ("date", "Thu, 01 Jan 2026 00:00:00 GMT"),
    ("content-type", "text/html; charset=utf-8"),
    ("content-length", "129"),
    ("connection", "keep-alive"),
    ("keep-alive", "timeout=5"),
    ("cache-control", "no-store"),
];

fn header_map(fields: &'static [(&'static str, &'static str)]) -> HeaderMap {
    let field = |&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value));
    fields.iter().map(field).collect()
}

fn fields(criterion: &mut Criterion) {
    let client = Fields::of_client(IpAddr::from([192, 0, 2, 7]));
    let host = HeaderValue::from_static("shop.example.com");
    let mut group = criterion.benchmark_group("fields");
    for (name, fields) in [("request of curl", CURL), ("request of a browser", BROWSER)] {
        let headers = header_map(fields);
        group.bench_function(name, |bencher| {
            let prepare = |mut headers: HeaderMap| {
                client.prepare_request(&mut headers, host.clone());
                headers
            };
            bencher.iter_batched(|| headers.clone(), prepare, BatchSize::SmallInput);
        });
    }
    let headers = header_map(RESPONSE);
    group.bench_function("response", |bencher| {
        let prepare = |mut headers: HeaderMap| {
            client.prepare_response(&mut headers);
            headers
        };
        bencher.iter_batched(|| headers.clone(), prepare, BatchSize::SmallInput);
    });
    group.finish();
}

/// A decision by address. Each client keeps its place, since its bucket is never full again.
fn rates(criterion: &mut Criterion) {
    let rule = Rule::new(NonZeroU32::MIN, Duration::from_secs(1), u32::MAX);
    let (fields, now) = (HeaderMap::new(), Instant::now());
    let mut group = criterion.benchmark_group("rates");
    for count in [1, 1_000_000] {
        let limiter = Limiter::new(Per::Address, rule, 1, &Memory::default());
        let decide =
            |number: u32| limiter.decide(0, limiter.hashed(IpAddr::V4(Ipv4Addr::from_bits(number))), &fields, now);
        (0..count).for_each(|number| _ = decide(number));
        let mut number = 0;
        group.bench_function(BenchmarkId::new("address", count), |bencher| {
            bencher.iter(|| {
                // Addresses come in an order that no cache foresees.
                number = (number + 617_647) % count;
                decide(black_box(number))
            });
        });
    }
    group.finish();
}
