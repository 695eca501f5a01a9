use std::io::Write as _;

use super::*;

fn literal(passphrase: &str) -> Result<Passphrases, ConfigError> {
    Passphrases::read(&Environment::from_pairs([(VARIABLE, passphrase)]), None)
}

fn file(bytes: &[u8]) -> Result<Passphrases, ConfigError> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    Passphrases::read(&Environment::default(), Some(file.path()))
}

fn everything(passphrases: &Passphrases, header: &[u8]) -> bool {
    passphrases.opens(Some(header)) == Some(Scope::Everything)
}

#[test]
fn an_empty_passphrase_is_none() {
    let unset = Passphrases::read(&Environment::default(), None);
    for open in [literal("").unwrap(), unset.unwrap()] {
        assert!(matches!(open, Passphrases::Open));
        assert_eq!(open.opens(None), Some(Scope::Everything));
        assert!(everything(&open, b"anything"));
    }
}

#[test]
fn takes_the_passphrase_raw_or_as_a_bearer_token() {
    let guard = literal("h\u{fc}nter 2").unwrap();
    for good in [
        "h\u{fc}nter 2",
        "Bearer h\u{fc}nter 2",
        "bearer  h\u{fc}nter 2",
    ] {
        assert!(everything(&guard, good.as_bytes()), "{good}");
    }
    for bad in [
        "",
        "Bearer ",
        "h\u{fc}nter",
        "h\u{fc}nter 2 ",
        "Basic h\u{fc}nter 2",
    ] {
        assert_eq!(guard.opens(Some(bad.as_bytes())), None, "{bad}");
    }
    assert_eq!(guard.opens(None), None);
    // Latin-1, which is not what was set.
    assert_eq!(guard.opens(Some(b"h\xfcnter 2")), None);
}

#[test]
fn a_passphrase_may_look_like_a_bearer_token() {
    let guard = literal("Bearer x").unwrap();
    assert!(everything(&guard, b"Bearer x"));
    assert!(everything(&guard, b"Bearer Bearer x"));
    assert!(!everything(&guard, b"x"));
}

#[test]
fn blanks_around_it_do_not_count_as_http_strips_them() {
    assert!(everything(&literal(" x ").unwrap(), b"x"));
}

#[test]
fn refuses_what_no_header_can_carry_without_repeating_it() {
    for bad in ["  ", "a\nhunter2", "hunter2\0"] {
        let error = literal(bad).err().unwrap().to_string();
        assert!(
            error.starts_with(VARIABLE) && !error.contains("hunter2"),
            "{error}"
        );
    }
}

#[test]
fn a_file_gives_each_passphrase_its_scope() {
    let text = "\u{feff}# all of it\r\n*\told one  with blanks \r\n* new one\n\n  main,demo  # not a remark\ndemo both\nmain both\nlast Bearer both";
    let guard = file(text.as_bytes()).unwrap();
    assert_eq!(guard.entries().len(), 5);
    let covered = |header: &str| {
        let scope = guard.opens(Some(header.as_bytes()));
        let covers = |name: &&str| scope.as_ref().is_some_and(|scope| scope.covers(name));
        let names = ["main", "demo", "last", "nope"];
        names.into_iter().filter(covers).collect::<Vec<_>>()
    };
    for header in ["old one  with blanks", "new one", "Bearer new one"] {
        assert_eq!(covered(header), ["main", "demo", "last", "nope"]);
    }
    assert_eq!(covered("# not a remark"), ["main", "demo"]);
    assert_eq!(covered("both"), ["main", "demo"]);
    // This one is two passphrases: one as it stands, and one as a token.
    assert_eq!(covered("Bearer both"), ["main", "demo", "last"]);
    for header in ["old one", "main,demo # not a remark", "*", "all of it"] {
        assert_eq!(covered(header), [] as [&str; 0], "{header}");
    }
}

#[test]
fn the_variable_and_the_file_count_both() {
    let mut temporary = tempfile::NamedTempFile::new().unwrap();
    temporary.write_all(b"main one\n* two").unwrap();
    let environment = Environment::from_pairs([(VARIABLE, "one")]);
    let guard = Passphrases::read(&environment, Some(temporary.path())).unwrap();
    assert!(everything(&guard, b"one") && everything(&guard, b"two"));
}

#[test]
fn a_wrong_file_is_an_error_that_names_the_line_and_never_repeats_it() {
    let many = "* hunter2\n".repeat(PASSPHRASES_MAX + 1);
    let long = format!("* {}", "hunter2".repeat(1000));
    let large = format!("* hunter2\n#{}", "x".repeat(256 * 1024));
    let cases: [(&[u8], &str); 13] = [
        (b"", "no passphrase; write '<scope> <passphrase>'"),
        (b"\n# * hunter2\n  \r\n", "no passphrase"),
        (b"\n\nhunter2", "line 3 has no scope"),
        (b"*", "line 1 has no scope or no passphrase"),
        (b"main  ", "line 1 has no scope or no passphrase"),
        (
            b"* x\nmain, demo hunter2",
            "line 2 does not begin with a scope",
        ),
        (b"hunter2! hunter2", "line 1 does not begin with a scope"),
        (b"*,main hunter2", "line 1 does not begin with a scope"),
        (
            b"* a\tb hunter2",
            "passphrase of line 1: it has a control character",
        ),
        (b"* hunter2\xff", "line 1 is not UTF-8"),
        (many.as_bytes(), "more than 1000 passphrases"),
        (long.as_bytes(), "line 1 is longer than 4096 bytes"),
        (large.as_bytes(), "more than 262144 bytes"),
    ];
    for (bytes, wanted) in cases {
        let error = file(bytes).err().unwrap().to_string();
        assert!(error.starts_with(FILE_VARIABLE), "{error}");
        assert!(error.contains(wanted), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn a_file_that_is_none_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    for (path, wanted) in [
        (folder.path().join("gone"), "cannot be read"),
        (folder.path().to_owned(), "is no regular file"),
        ("/dev/zero".into(), "is no regular file"),
    ] {
        let error = Passphrases::read(&Environment::default(), Some(&path));
        let error = error.err().unwrap().to_string();
        assert!(
            error.starts_with(FILE_VARIABLE) && error.contains(wanted),
            "{error}"
        );
    }
}
