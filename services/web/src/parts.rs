//! The tags of the page's scripts and styles. `index.html` names them in gaps,
//! `{{styles css/a.css css/b.css}}` and `{{script js/main.js}}`; each becomes one
//! file, or as many as there are where they cannot be joined.

use std::fmt::Write as _;

use tracing::info;

use crate::bundle::{self, Files};

/// What a folder's styles and modules are joined as.
const JOINED: &str = "all";

/// Fills the gaps that name parts, and adds what was joined to the files.
#[must_use]
pub(crate) fn lay_out(html: &str, files: &mut Files) -> String {
    let mut out = String::with_capacity(html.len());
    let mut rest = html;
    while let Some((before, after)) = rest.split_once("{{") {
        out.push_str(before);
        let Some((gap, after)) = after.split_once("}}") else {
            rest = &rest[before.len()..];
            break;
        };
        let names: Vec<&str> = gap.split_whitespace().collect();
        match names[..] {
            ["styles", ref names @ ..] if !names.is_empty() => styles(names, files, &mut out),
            ["script", name] => script(name, files, &mut out),
            _ => {
                let _ = write!(out, "{{{{{gap}}}}}");
            }
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

fn styles(names: &[&str], files: &mut Files, out: &mut String) {
    let joined = bundle::join_styles(files, names);
    let tags: Vec<String> = match keep(joined, names[0], "css", files) {
        Some(name) => vec![name],
        None => names.iter().map(|name| (*name).to_owned()).collect(),
    };
    let tags = tags
        .iter()
        .map(|name| format!("<link rel=\"stylesheet\" href=\"{{{{assets}}}}/{name}\">"));
    out.push_str(&tags.collect::<Vec<_>>().join("\n"));
}

fn script(name: &str, files: &mut Files, out: &mut String) {
    let tag =
        |name: &str| format!("<script type=\"module\" src=\"{{{{assets}}}}/{name}\"></script>");
    let joined = bundle::join_modules(files, name);
    if let Some(joined) = keep(joined, name, "js", files) {
        out.push_str(&tag(&joined));
        return;
    }
    out.push_str(&tag(name));
    // All modules at once, instead of one level after the other.
    for module in bundle::list_modules(files, name).unwrap_or_default() {
        let _ = write!(
            out,
            "\n<link rel=\"modulepreload\" href=\"{{{{assets}}}}/{module}\">"
        );
    }
}

/// Adds a joined file beside the first of its parts.
fn keep(
    joined: Result<String, String>,
    first: &str,
    extension: &str,
    files: &mut Files,
) -> Option<String> {
    let folder = first
        .rsplit_once('/')
        .map_or(String::new(), |(folder, _)| format!("{folder}/"));
    let name = format!("{folder}{JOINED}.{extension}");
    let joined = joined.and_then(|body| match files.contains_key(&name) {
        true => Err(format!("there is a {name} already")),
        false => Ok(body),
    });
    match joined {
        Ok(body) => {
            files.insert(name.clone(), body.into());
            Some(name)
        }
        Err(problem) => {
            info!("the parts of the page are served one by one: {problem}");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> Files {
        let list = [
            ("css/a.css", "a{}"),
            ("css/b.css", "b{}"),
            ("js/main.js", "import { x } from \"./x.js\";"),
            ("js/x.js", "export const x = 1;"),
        ];
        list.map(|(name, body)| (name.to_owned(), body.into()))
            .into()
    }

    #[test]
    fn gaps_become_one_file_each() {
        let mut files = files();
        let html = lay_out(
            "<a>{{styles css/a.css css/b.css}}{{title}}{{script js/main.js}}{{",
            &mut files,
        );
        let expected = "<a><link rel=\"stylesheet\" href=\"{{assets}}/css/all.css\">{{title}}\
            <script type=\"module\" src=\"{{assets}}/js/all.js\"></script>{{";
        assert_eq!(html, expected);
        assert!(files.contains_key("css/all.css") && files.contains_key("js/all.js"));
    }

    #[test]
    fn what_cannot_be_joined_is_named_one_by_one() {
        let mut files = files();
        files.insert("css/all.css".to_owned(), "mine".into());
        files.insert("js/x.js".to_owned(), "export let x = 1;".into());
        let html = lay_out(
            "{{styles css/a.css css/b.css}}{{script js/main.js}}",
            &mut files,
        );
        assert!(
            html.contains("css/a.css") && html.contains("css/b.css"),
            "{html}"
        );
        assert!(
            html.contains("js/main.js") && !html.contains("all."),
            "{html}"
        );
        assert_eq!(files["css/all.css"], "mine");
    }
}
