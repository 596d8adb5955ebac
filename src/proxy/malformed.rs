//! The rules that a request must keep to be one: what is refused with 400, for every version of HTTP.

/// A rule of HTTP, or one of this proxy, that a request has broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// RFC 9112 section 3.2.
    HostMissing,
    HostRepeated,
    /// Stricter than RFC 3986 on purpose: a host that needs escapes or lists is a way to deceive somebody.
    HostInvalid,
    /// RFC 9113 section 8.3.1.
    HostsDiffer,
    /// RFC 9110 section 4.2.4.
    UserName,
    /// Only requests for `http` and `https` can be passed on.
    Scheme,
    /// RFC 9112 section 3.2.
    TargetForm,
    /// It could be read as two paths that have different routes, or climb out of one.
    PathAmbiguous,
    /// RFC 9112 section 3.2.4.
    Asterisk,
    /// RFC 9110 section 8.6, and stricter: also lengths that are the same.
    LengthRepeated,
    /// RFC 9113 section 8.2.1. HTTP/1.1 strips it.
    FieldSpace,
    /// RFC 9112 section 8.
    Body,
    /// The head cannot be read (RFC 9112 sections 2 to 6).
    Head,
}

impl Malformed {
    /// All rules, in the order of their counters.
    pub(crate) const ALL: [Self; 13] = [
        Self::HostMissing,
        Self::HostRepeated,
        Self::HostInvalid,
        Self::HostsDiffer,
        Self::UserName,
        Self::Scheme,
        Self::TargetForm,
        Self::PathAmbiguous,
        Self::Asterisk,
        Self::LengthRepeated,
        Self::FieldSpace,
        Self::Body,
        Self::Head,
    ];

    /// The word in logs and metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::HostMissing => "host-missing",
            Self::HostRepeated => "host-repeated",
            Self::HostInvalid => "host-invalid",
            Self::HostsDiffer => "hosts-differ",
            Self::UserName => "user-name",
            Self::Scheme => "scheme",
            Self::TargetForm => "target-form",
            Self::PathAmbiguous => "path-ambiguous",
            Self::Asterisk => "asterisk",
            Self::LengthRepeated => "length-repeated",
            Self::FieldSpace => "field-space",
            Self::Body => "body",
            Self::Head => "head",
        }
    }

    /// A sentence for the person who made the request.
    pub(super) fn explanation(self) -> &'static str {
        match self {
            Self::HostMissing => "the request names no host",
            Self::HostRepeated => "the request has more than one Host field",
            Self::HostInvalid => "the request's host is neither a name nor an IP address, with or without a port",
            Self::HostsDiffer => "the request has two different hosts",
            Self::UserName => "the request target must not contain a user name",
            Self::Scheme => "the request target is neither http nor https",
            Self::TargetForm => "the request's path does not begin with a slash",
            Self::PathAmbiguous => "the request's path hides a slash or a `..` from some who read it; write it plainly",
            Self::Asterisk => "the request target * is for OPTIONS only",
            Self::LengthRepeated => "the request has more than one Content-Length",
            Self::FieldSpace => "a field value of the request begins or ends with white space",
            Self::Body => "the request body broke off or is not framed correctly",
            Self::Head => "the head of the request is not valid HTTP",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_has_its_place_in_the_list() {
        for (place, rule) in Malformed::ALL.into_iter().enumerate() {
            assert_eq!(rule as usize, place, "{rule:?}");
        }
    }
}
