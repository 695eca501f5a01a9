//! The page as it is served: `index.html` with the verdict in it, so that
//! readers without scripts, chat programs and search engines see it too.

use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest as _, Sha256};

use crate::{
    OriginRule,
    brand::Brand,
    policy,
    representation::{Representation, etag_of},
    verdict::{Mood, Verdict},
};

/// Titles are cut to so many characters.
const TITLE_CHARS_MAX: usize = 140;
const CONTENT_TYPE: &str = "text/html; charset=utf-8";

/// `index.html`, cut at its gaps.
#[derive(Debug)]
pub(crate) struct Template {
    parts: Vec<Part>,
    brand: Brand,
    assets: String,
    /// What the page may do in a browser.
    policy: String,
    /// The same without the rule about frames, which counts in a header alone.
    inner_policy: String,
    /// Whether it stands in the page: the host that serves it cannot say it.
    shows_policy: bool,
    /// What was rendered last, and for which verdict.
    last: Mutex<Option<(Verdict, Arc<Representation>)>>,
}

#[derive(Debug)]
enum Part {
    Text(String),
    Gap(Gap),
}

/// What differs from one verdict to the next.
#[derive(Debug, Clone, Copy)]
enum Gap {
    Sentence,
    Headline,
    Mood,
    Colour,
    Fleet,
    Policy,
}

impl Template {
    /// Reads the template and fills what stays the same.
    ///
    /// # Errors
    ///
    /// The name of a gap that nobody knows.
    pub(crate) fn new(
        html: &str,
        brand: Brand,
        assets: String,
        build: &str,
    ) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut rest = html;
        while let Some((before, after)) = rest.split_once("{{") {
            let (name, after) = after.split_once("}}").ok_or("{{ without }}")?;
            text.push_str(before);
            match gap(name) {
                Some(gap) => {
                    parts.push(Part::Text(std::mem::take(&mut text)));
                    parts.push(Part::Gap(gap));
                }
                None => text.push_str(&fixed(name, &brand, &assets, build)?),
            }
            rest = after;
        }
        text.push_str(rest);
        parts.push(Part::Text(text));
        let mut template = Self {
            parts,
            brand,
            assets,
            policy: String::new(),
            inner_policy: String::new(),
            shows_policy: false,
            last: Mutex::new(None),
        };
        template.allow(&OriginRule::NONE, &OriginRule::NONE);
        Ok(template)
    }

    /// Lets the page load from, and talk to, further hosts, and be shown in frames.
    pub(crate) fn allow(&mut self, others: &OriginRule, frames: &OriginRule) {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(part) => text.push_str(part),
                Part::Gap(_) => text.push(policy::GAP),
            }
        }
        self.inner_policy = policy::of(&text, &self.brand.api, others);
        self.policy = policy::with_frames(&self.inner_policy, frames);
    }

    /// Puts the policy into the page.
    pub(crate) fn show_policy(&mut self) {
        self.shows_policy = true;
    }

    /// What the page may do in a browser.
    #[must_use]
    pub(crate) fn policy(&self) -> &str {
        &self.policy
    }

    /// The whole page with this verdict; the last one is kept.
    #[must_use]
    pub(crate) fn render(&self, verdict: &Verdict) -> Arc<Representation> {
        let last = || self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((held, page)) = &*last()
            && held == verdict
        {
            return page.clone();
        }
        let body = self.text(verdict);
        // Who has the page already keeps the policy that came with it.
        let etag = etag_of(
            &Sha256::new()
                .chain_update(&body)
                .chain_update(&self.policy)
                .finalize(),
        );
        let page = Arc::new(Representation::new(CONTENT_TYPE, body.into(), etag));
        *last() = Some((verdict.clone(), page.clone()));
        page
    }

    fn text(&self, verdict: &Verdict) -> String {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Gap(gap) => self.fill(*gap, verdict, &mut out),
            }
        }
        out
    }

    fn fill(&self, gap: Gap, verdict: &Verdict, out: &mut String) {
        match gap {
            Gap::Sentence => push_escaped(out, &verdict.sentence),
            Gap::Headline if verdict.sentence == self.brand.title => {
                push_escaped(out, &self.brand.title);
            }
            Gap::Headline => {
                push_escaped(out, &cut(&verdict.sentence));
                out.push_str(" · ");
                push_escaped(out, &self.brand.title);
            }
            Gap::Mood => out.push_str(verdict.mood.name()),
            Gap::Colour => out.push_str(colour(verdict.mood)),
            Gap::Policy if self.shows_policy => {
                out.push_str("<meta http-equiv=\"Content-Security-Policy\" content=\"");
                push_escaped(out, &self.inner_policy);
                out.push_str("\">");
            }
            Gap::Policy => {}
            Gap::Fleet => {
                for line in &verdict.lines {
                    out.push_str("<li>");
                    push_escaped(out, line);
                    out.push_str("</li>");
                }
            }
        }
    }

    /// The name that the operator gave the page.
    #[must_use]
    pub(crate) fn title(&self) -> &str {
        &self.brand.title
    }

    /// What a phone needs to put the page on its home screen.
    #[must_use]
    pub(crate) fn manifest(&self) -> Representation {
        let body = self.brand.manifest(&self.assets);
        let etag = etag_of(&Sha256::digest(&body));
        Representation::new("application/manifest+json", body.into(), etag)
    }
}

fn gap(name: &str) -> Option<Gap> {
    Some(match name {
        "sentence" => Gap::Sentence,
        "headline" => Gap::Headline,
        "mood" => Gap::Mood,
        "mood_colour" => Gap::Colour,
        "fleet" => Gap::Fleet,
        "policy" => Gap::Policy,
        _ => return None,
    })
}

/// What is the same for every verdict.
fn fixed(name: &str, brand: &Brand, assets: &str, build: &str) -> Result<String, String> {
    let link = match &brand.link[..] {
        "" => "./",
        link => link,
    };
    Ok(match name {
        "assets" => escaped(assets),
        "build" => escaped(build),
        "title" => escaped(&brand.title),
        "link" => escaped(link),
        "logo" => escaped(&format!("{assets}/{}", brand.logo())),
        "description" => escaped(&brand.description),
        "address" => address(brand, assets),
        "plain" => match brand.api.trim_end_matches('/') {
            "" => "plain".to_owned(),
            api => escaped(&format!("{api}/plain")),
        },
        // A script must not be ended by what is in it.
        "config" => brand
            .config(assets, build)
            .to_string()
            .replace('<', "\\u003c"),
        _ => return Err(format!("{{{{{name}}}}} is not known")),
    })
}

/// The lines of an unfurled link that need the public address.
fn address(brand: &Brand, assets: &str) -> String {
    if brand.address.is_empty() {
        return String::new();
    }
    let address = escaped(brand.address.trim_end_matches('/'));
    format!(
        "<meta property=\"og:url\" content=\"{address}/\">\n\
         <meta property=\"og:image\" content=\"{address}/{assets}/icons/icon-512.png\">\n\
         <link rel=\"canonical\" href=\"{address}/\">"
    )
}

/// Chat programs colour the card of an unfurled link with it.
fn colour(mood: Mood) -> &'static str {
    match mood {
        Mood::None => "#78848f",
        Mood::Good => "#2f9a70",
        Mood::Calm => "#3a80d2",
        Mood::Warn => "#c8690a",
        Mood::Bad => "#cf3440",
    }
}

/// Cuts a long sentence at a word.
#[must_use]
pub(crate) fn cut(sentence: &str) -> String {
    let Some((end, _)) = sentence.char_indices().nth(TITLE_CHARS_MAX) else {
        return sentence.to_owned();
    };
    let short = &sentence[..end];
    let short = short.rsplit_once(' ').map_or(short, |(words, _)| words);
    format!("{short}…")
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    push_escaped(&mut out, text);
    out
}

fn push_escaped(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() && c != '\n' => out.push(' '),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(sentence: &str) -> Verdict {
        Verdict {
            sentence: sentence.to_owned(),
            facts: String::new(),
            mood: Mood::Bad,
            is_well: false,
            lines: vec!["main: <b>".to_owned()],
        }
    }

    #[test]
    fn hostile_words_stay_words() {
        let brand = Brand {
            title: "</script><b>\"'".to_owned(),
            ..Brand::default()
        };
        let html = "<title>{{headline}}</title><p class=\"{{mood}}\">{{sentence}}</p>{{config}}<ul>{{fleet}}</ul>";
        let template = Template::new(html, brand, "assets/x".into(), "x").unwrap();
        let text = template.text(&verdict("<i>&{{mood}}"));
        assert!(!text.contains("<b>") && !text.contains("<i>"), "{text}");
        assert!(
            text.contains("<p class=\"bad\">&lt;i&gt;&amp;{{mood}}</p>"),
            "{text}"
        );
        assert!(!text.contains("</script>"), "{text}");
        assert!(text.contains("<li>main: &lt;b&gt;</li>"));
    }

    #[test]
    fn the_same_verdict_is_rendered_once() {
        let brand = Brand::default();
        let template = Template::new("{{sentence}}", brand, "a".into(), "x").unwrap();
        let first = template.render(&verdict("One"));
        assert!(Arc::ptr_eq(&first, &template.render(&verdict("One"))));
        assert!(!Arc::ptr_eq(&first, &template.render(&verdict("Two"))));
    }

    #[test]
    fn an_unknown_gap_is_an_error() {
        for html in ["{{nothing}}", "{{title"] {
            assert!(Template::new(html, Brand::default(), String::new(), "").is_err());
        }
    }

    #[test]
    fn a_long_sentence_is_cut_at_a_word() {
        let long = "words ".repeat(40);
        let short = cut(&long);
        assert!(short.ends_with("words…") && short.chars().count() <= TITLE_CHARS_MAX);
        assert_eq!(cut("short"), "short");
        assert!(cut(&"é".repeat(200)).ends_with('…'));
    }
}
