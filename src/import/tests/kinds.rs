//! Whose file it is, by its name and by what is in it.

#![cfg(test)]

use unstick_import::Kind;

#[test]
fn names_and_contents_tell_whose_file_it_is() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text, expected) in [
        ("traefik.yml", "", Some(Kind::Traefik)),
        ("traefik.toml", "", Some(Kind::Traefik)),
        ("docker-compose.prod.yml", "", Some(Kind::Compose)),
        ("compose.yaml", "", Some(Kind::Compose)),
        ("dynamic.yml", "# x\nhttp:\n  routers: {}\n", Some(Kind::Traefik)),
        ("routes.toml", "[http.routers.a]\n", Some(Kind::Traefik)),
        ("stack.yml", "version: '3'\nservices:\n  a: {}\n", Some(Kind::Compose)),
        ("other.yml", "kind: Pod\n", None),
        ("nginx.conf", "", Some(Kind::Nginx)),
    ] {
        let file = folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        assert_eq!(Kind::of(&file), expected, "{name}");
    }
}
