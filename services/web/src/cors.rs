//! Whose pages may read what is public from another host (Fetch standard, "HTTP CORS protocol").

use std::str::FromStr;

use warp::http::{HeaderMap, HeaderValue, header};

use crate::{origin, representation::set};

const ALLOWED: &str = "`*`, `none`, or origins";

/// The origins that may read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origins {
    /// All of them.
    Everybody,
    /// These; none when the list is empty.
    Only(Vec<String>),
}

impl FromStr for Origins {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.trim() {
            "*" => return Ok(Self::Everybody),
            "none" => return Ok(Self::Only(Vec::new())),
            _ => {}
        }
        let origins = text.split(',').map(str::trim);
        let checked = |text: &str| origin::parse(text).map_err(|problem| problem.of(text, ALLOWED));
        origins
            .map(checked)
            .collect::<Result<_, _>>()
            .map(Self::Only)
    }
}

impl Origins {
    /// Says to the browser whether the page that asks may read the answer.
    pub(crate) fn allow(&self, request: &HeaderMap, answer: &mut HeaderMap) {
        let exposed = "ETag, Retry-After, Glance-Build";
        match self {
            Self::Everybody => set(answer, header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
            Self::Only(origins) => {
                answer.append(header::VARY, HeaderValue::from_static("Origin"));
                let asking = request.get(header::ORIGIN);
                let is_known = |value: &&HeaderValue| {
                    let value = value.to_str().unwrap_or_default();
                    origins
                        .iter()
                        .any(|origin| origin.eq_ignore_ascii_case(value))
                };
                let Some(origin) = asking.filter(is_known) else {
                    return;
                };
                answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            }
        }
        set(answer, header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings() {
        let only = |origins: &[&str]| {
            Ok(Origins::Only(
                origins.iter().map(|&it| it.to_owned()).collect(),
            ))
        };
        assert_eq!("*".parse(), Ok(Origins::Everybody));
        assert_eq!("none".parse(), only(&[]));
        assert_eq!(
            "https://a.org:443, http://b:8080,http://[::1]:80".parse(),
            only(&["https://a.org", "http://b:8080", "http://[::1]"])
        );
        for wrong in [
            "",
            "a.org",
            "https://a.org/",
            "https://a.org,,",
            "ftp://a.org",
            "https://a.org:99999",
        ] {
            let error = wrong.parse::<Origins>().unwrap_err();
            assert!(error.contains("none"), "{error}");
        }
        let error = "https://bücher.example".parse::<Origins>().unwrap_err();
        assert!(error.contains("write https://xn--bcher-kva.example"));
    }

    #[test]
    fn only_who_is_named_may_read() {
        let origins: Origins = "https://a.org".parse().unwrap();
        for (asking, allowed) in [("https://a.org", true), ("https://b.org", false)] {
            let (mut request, mut answer) = (HeaderMap::new(), HeaderMap::new());
            request.insert(header::ORIGIN, HeaderValue::from_static(asking));
            origins.allow(&request, &mut answer);
            let told = answer.get(header::ACCESS_CONTROL_ALLOW_ORIGIN);
            assert_eq!(told.is_some_and(|told| told == asking), allowed);
            assert_eq!(answer[header::VARY], "Origin");
        }
    }
}
