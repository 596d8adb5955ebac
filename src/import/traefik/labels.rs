//! Labels, flags and variables of the environment: each is a path into the tree, and a value.

use super::node::{Data, Node};
use super::yaml::DEPTH_MAX;
use crate::imported::Place;

/// The largest index of a list, as in `servers[0].url`.
const INDEX_MAX: usize = 100;

/// Sets the value of a path: `http.routers.app.tls.domains[0].main`.
///
/// # Errors
/// What is wrong with the path.
pub(super) fn insert(root: &mut Node, path: &str, separator: char, value: &str, place: &Place) -> Result<(), String> {
    if path.split(separator).count() > DEPTH_MAX {
        return Err(format!("it has more than {DEPTH_MAX} parts"));
    }
    let mut node = root;
    for part in path.split(separator) {
        let (name, index) = match part.strip_suffix(']').and_then(|part| part.split_once('[')) {
            Some((name, index)) => (name, Some(index)),
            None => (part, None),
        };
        if name.is_empty() {
            return Err("it has an empty part".to_owned());
        }
        node = node.child_mut(name, place);
        if let Some(index) = index {
            let index = index.parse().ok().filter(|index| *index <= INDEX_MAX);
            let index: usize = index.ok_or_else(|| format!("an index is a number up to {INDEX_MAX}"))?;
            node = element_mut(node, index, place);
        }
    }
    node.data = Data::Text(value.into());
    Ok(())
}

/// The element of this index, made if it is not there. What is no list becomes one.
fn element_mut<'n>(node: &'n mut Node, index: usize, place: &Place) -> &'n mut Node {
    if !matches!(node.data, Data::List(_)) {
        node.data = Data::List(Vec::new());
    }
    let Data::List(list) = &mut node.data else { unreachable!("it was made a list") };
    while list.len() <= index {
        list.push(Node { place: place.clone(), data: Data::Null });
    }
    &mut list[index]
}

/// Puts the flags of a command into the tree: `--entrypoints.web.address=:80`. Comes back with those that are none.
pub(super) fn flags<'w>(root: &mut Node, words: &[(&'w str, Place)]) -> Vec<(&'w str, Place)> {
    let mut odd = Vec::new();
    for (word, place) in words {
        let Some(flag) = word.strip_prefix("--").or_else(|| word.strip_prefix('-')) else {
            // The name of the program.
            if !matches!(*word, "traefik" | "/traefik" | "sh" | "-c") {
                odd.push((*word, place.clone()));
            }
            continue;
        };
        let (path, value) = flag.split_once('=').unwrap_or((flag, "true"));
        if insert(root, path, '.', value, place).is_err() {
            odd.push((*word, place.clone()));
        }
    }
    odd
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_make_a_tree() {
        let place = Place { file: "x".into(), line: 7 };
        let mut root = Node::empty(place.clone());
        for (path, value) in [
            ("http.routers.app.rule", "Host(`a.test`)"),
            ("http.Routers.App.tls.domains[1].main", "b.test"),
            ("http.routers.app.middlewares", "a, b"),
        ] {
            insert(&mut root, path, '.', value, &place).unwrap();
        }
        assert_eq!(root.text_at("http.routers.app.rule"), Some("Host(`a.test`)"));
        assert_eq!(root.get("http.routers.app.tls.domains").unwrap().elements()[1].text_at("main"), Some("b.test"));
        assert_eq!(root.texts_at("http.routers.app.middlewares"), ["a", "b"]);
        for path in ["a..b", "a[x].b", "a[101]", &format!("{}a", "a.".repeat(100)), ""] {
            assert!(insert(&mut root, path, '.', "1", &place).is_err(), "{path}");
        }
        let odd = flags(&mut root, &[("--api", place.clone()), ("--entryPoints.web.address=:80", place.clone())]);
        assert!(odd.is_empty());
        assert_eq!((root.is_true("api"), root.text_at("entrypoints.web.address")), (true, Some(":80")));
    }
}
