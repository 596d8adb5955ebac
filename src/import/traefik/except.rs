//! Regular expressions for what is not: all texts but one, or but those that begin with one. They look at one character
//! after the other, because those of unstick do not look around.

/// A text to be excluded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Except {
    pub(super) text: String,
    /// Whether what goes on after it is excluded too.
    pub(super) is_prefix: bool,
}

/// What fits the rest of a text, from where the expression stands, if that is none of these. Nothing if nothing fits;
/// an empty expression if everything does.
pub(super) fn pattern(excepts: &[Except]) -> Option<String> {
    if excepts.iter().any(|except| except.text.is_empty() && except.is_prefix) {
        return None;
    }
    if excepts.is_empty() {
        return Some(String::new());
    }
    let ends_here = excepts.iter().any(|except| except.text.is_empty());
    let mut firsts: Vec<char> = excepts.iter().filter_map(|except| except.text.chars().next()).collect();
    firsts.sort_unstable();
    firsts.dedup();
    let class: String = firsts.iter().map(|c| regex::escape(&c.to_string())).collect();
    let mut branches = if ends_here { Vec::new() } else { vec!["$".to_owned()] };
    branches.push(if class.is_empty() { ".".to_owned() } else { format!("[^{class}]") });
    for first in firsts {
        let rests: Vec<Except> = excepts
            .iter()
            .filter_map(|except| {
                let text = except.text.strip_prefix(first)?.to_owned();
                Some(Except { text, is_prefix: except.is_prefix })
            })
            .collect();
        branches.extend(pattern(&rests).map(|rest| format!("{}{rest}", regex::escape(&first.to_string()))));
    }
    Some(format!("({})", branches.join("|")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_but_these_fit() {
        let prefix = |text: &str| Except { text: text.to_owned(), is_prefix: true };
        let exact = |text: &str| Except { text: text.to_owned(), is_prefix: false };
        let texts = ["", "a", "ab", "abc", "ac", "b", "-", "]", "a]", "abx", "xab"];
        for excepts in [
            vec![],
            vec![prefix("ab")],
            vec![exact("ab")],
            vec![prefix("ab"), prefix("a]"), exact("")],
            vec![exact("a"), exact("abc"), prefix("b")],
            vec![prefix("-"), prefix("]")],
        ] {
            let written = format!("^{}", pattern(&excepts).unwrap());
            let regex = regex::Regex::new(&written).unwrap();
            for text in texts {
                let is_one = |except: &Except| match except.is_prefix {
                    true => text.starts_with(&except.text),
                    false => text == except.text,
                };
                assert_eq!(regex.is_match(text), !excepts.iter().any(is_one), "{written} {text}");
            }
        }
        assert_eq!(pattern(&[prefix("")]), None);
    }
}
