//! Where a request goes, and what it may carry there.

use ureq::http::Uri;

/// Who gets an `Authorization` header is who asked for it.
pub(crate) fn same_origin(a: &Uri, b: &Uri) -> bool {
    (a.scheme(), a.authority()) == (b.scheme(), b.authority())
}

/// True for names of this machine itself, which nobody on the way can overhear.
pub(crate) fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Where `Location` leads from an address: to HTTPS, or to HTTP on this machine itself.
///
/// # Errors
/// What is wrong with it, as part of a sentence.
pub(crate) fn redirected(from: &Uri, location: &str) -> Result<Uri, String> {
    let to: Uri =
        absolute(from, location).parse().map_err(|_| "it redirects to no URL".to_owned())?;
    match (to.scheme_str(), to.host()) {
        (Some("https"), Some(_)) => Ok(to),
        (Some("http"), Some(host)) if is_loopback(host) => Ok(to),
        _ => Err(format!("it redirects to {to}, where HTTPS is wanted")),
    }
}

/// RFC 3986, section 5.2: what is missing in front is taken from where we are.
fn absolute(from: &Uri, location: &str) -> String {
    let scheme = from.scheme_str().unwrap_or("https");
    let origin = format!("{scheme}://{}", from.authority().map_or("", |a| a.as_str()));
    let before_path = location.split(['/', '?', '#']).next().unwrap_or_default();
    match location {
        whole if before_path.ends_with(':') => whole.to_owned(),
        net if net.starts_with("//") => format!("{scheme}:{net}"),
        rooted if rooted.starts_with('/') => origin + rooted,
        query if query.starts_with('?') => origin + from.path() + query,
        mut beside => {
            let above =
                |path: &str| path.rsplit_once('/').map_or("", |(above, _)| above).to_owned();
            let mut folder = above(from.path());
            loop {
                if let Some(rest) = beside.strip_prefix("../") {
                    (folder, beside) = (above(&folder), rest);
                } else if let Some(rest) = beside.strip_prefix("./") {
                    beside = rest;
                } else {
                    return format!("{origin}{folder}/{beside}");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_loopback() {
        for host in
            ["localhost", "localhost:5000", "127.0.0.1", "127.8.0.1:80", "[::1]:5000", "[::1]"]
        {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["localhost.example", "128.0.0.1", "[::2]:5000", "127.0.0.1.example:5000", ""] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn a_redirect_may_leave_out_what_stays_the_same() {
        let from: Uri = "https://r.io/v2/app/blobs/sha256:1?a=b".parse().unwrap();
        let to = |location: &str| redirected(&from, location).unwrap().to_string();
        assert_eq!(to("https://cdn.io/x?sig=a%2Fb"), "https://cdn.io/x?sig=a%2Fb");
        assert_eq!(to("//cdn.io/x"), "https://cdn.io/x");
        assert_eq!(to("/x"), "https://r.io/x");
        assert_eq!(to("?c=d"), "https://r.io/v2/app/blobs/sha256:1?c=d");
        assert_eq!(to("sha256:2"), "https://r.io/v2/app/blobs/sha256:2");
        assert_eq!(to("./2"), "https://r.io/v2/app/blobs/2");
        assert_eq!(to("../../../../store/2"), "https://r.io/store/2");
    }

    #[test]
    fn a_redirect_does_not_lead_out_of_https() {
        let told = |from: &str, to: &str| redirected(&from.parse().unwrap(), to).map(drop);
        for from in ["https://r.io/x", "http://127.0.0.1:5000/x"] {
            assert!(told(from, "http://[::1]:80/x").is_ok());
            for to in ["http://r.io/x", "ftp://r.io/x", "file:///etc/passwd", "http:"] {
                assert!(told(from, to).is_err(), "{from} {to}");
            }
        }
    }
}
