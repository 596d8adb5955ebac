//! What a route does to the header fields of a message.

use std::borrow::Cow;
use std::net::IpAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::connection::Connection;
use crate::config::model::Variable;
use crate::fields::{looks_like, push_line};
use crate::snapshot::plan::{Edit, Edits, FieldValue};

/// What is known of a request, for the templates of its route.
pub(super) struct Known<'a> {
    pub(super) host: &'a str,
    pub(super) path: &'a str,
    pub(super) query: Option<&'a str>,
    pub(super) client: IpAddr,
    pub(super) request_id: &'a str,
    pub(super) connection: &'a Connection,
}

impl<'a> Known<'a> {
    /// The value of a variable.
    pub(super) fn value(&self, variable: Variable) -> Cow<'a, str> {
        match variable {
            Variable::Host => self.host.into(),
            // `OPTIONS *` is for the server as a whole.
            Variable::Path if self.path == "*" => "/".into(),
            Variable::Path => self.path.into(),
            Variable::Query => self.query.map_or_else(Cow::default, |query| format!("?{query}").into()),
            Variable::ClientIp => self.client.to_string().into(),
            Variable::RequestId => self.request_id.into(),
            Variable::Scheme => self.connection.scheme().into(),
            Variable::Listener => self.connection.rules.listener().to_owned().into(),
        }
    }
}

/// The values that templates make, in their order. What could not be a value is `None`: no variable has a byte that
/// could end a field.
pub(super) fn values(edits: &Edits, known: &Known<'_>) -> Box<[Option<HeaderValue>]> {
    let templates = edits.values.iter().filter_map(|edit| match &edit.value {
        FieldValue::Fixed(_) => None,
        FieldValue::Of(template) => Some(template),
    });
    templates.map(|template| HeaderValue::try_from(template.fill(|variable| known.value(variable))).ok()).collect()
}

/// What inert edits add to a request, as lines of HTTP/1.1. `made` is what [`values`] has made of the templates.
pub(super) fn lines(edits: &Edits, made: &[Option<HeaderValue>]) -> Bytes {
    if !edits.has_templates {
        return edits.lines.clone();
    }
    let mut lines = Vec::new();
    with_values(edits, made).for_each(|(edit, value)| push_line(&mut lines, &edit.name, value));
    lines.into()
}

/// The edits that give a value, and the value.
fn with_values<'a>(
    edits: &'a Edits,
    made: &'a [Option<HeaderValue>],
) -> impl Iterator<Item = (&'a Edit, &'a HeaderValue)> {
    let mut made = made.iter();
    edits.values.iter().filter_map(move |edit| match &edit.value {
        FieldValue::Fixed(value) => Some((edit, value)),
        FieldValue::Of(_) => made.next().and_then(Option::as_ref).map(|value| (edit, value)),
    })
}

/// Edits fields. `made` is what [`values`] has made of the templates.
pub(super) fn apply(headers: &mut HeaderMap, edits: &Edits, made: &[Option<HeaderValue>]) {
    for name in &edits.remove {
        headers.remove(name);
    }
    for (Edit { name, replaces, .. }, value) in with_values(edits, made) {
        match replaces {
            true => _ = headers.insert(name.clone(), value.clone()),
            false => _ = headers.append(name.clone(), value.clone()),
        }
    }
}

/// Removes fields that an application may take for one that is edited: to many, `X_Tenant` is `X-Tenant`. If the edits
/// are inert, those that are edited go too.
pub(super) fn strip_alike(headers: &mut HeaderMap, edits: &Edits) {
    if headers.keys().any(|name| edits.has_name_of(name.as_str().len())) {
        strip_those_alike(headers, edits);
    }
}

/// For a request with a field whose name is as long as one that is edited.
#[inline(never)]
fn strip_those_alike(headers: &mut HeaderMap, edits: &Edits) {
    let is_alike = |name: &&HeaderName| {
        let is_alike = |own: &HeaderName| (edits.is_inert || own != *name) && looks_like(name.as_str(), own.as_str());
        edits.names.iter().any(is_alike)
    };
    let alike: Vec<HeaderName> = headers.keys().filter(is_alike).cloned().collect();
    alike.iter().for_each(|name| _ = headers.remove(name));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_cannot_pass_for_another() {
        let edit = |name: &'static str, replaces| {
            let value = FieldValue::Fixed(HeaderValue::from_static("a"));
            Edit { name: HeaderName::from_static(name), replaces, value }
        };
        let long = "x-very-long-name-0123456789-0123456789-0123456789-0123456789-0123456789-0123456789";
        let remove = ["x-user-id", long].map(HeaderName::from_static);
        let edits = Edits::new(
            Box::new(remove),
            Box::new([edit("x-tenant", true), edit("x_role", true), edit("x-via", false)]),
        );
        let kept = ["x-tenant", "x_via", "xtenant", "x-tenants", "accept"];
        let alike = ["x_tenant", "x-role", "x_user_id", "x-user_id", "x_user-id", &long.replace('-', "_")];
        let field = |name: &&str| (HeaderName::try_from(*name).unwrap(), HeaderValue::from_static("b"));
        let mut headers: HeaderMap = kept.iter().chain(&alike).map(field).collect();
        strip_alike(&mut headers, &edits);
        let inert = Edits::new(Box::default(), Box::new([edit("x-tenant", true), edit("x-role", false)]));
        let fields = ["x-tenant", "x_tenant", "x-role", "x_role", "x-tenants"];
        let mut beside: HeaderMap = fields.iter().map(field).collect();
        strip_alike(&mut beside, &inert);
        let mut left: Vec<&str> = beside.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!((inert.is_inert, left), (true, vec!["x-role", "x-tenants", "x_role"]));
        let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["accept", "x-tenant", "x-tenants", "x_via", "xtenant"]);
    }
}
