use super::*;

fn files(list: &[(&str, &str)]) -> Files {
    let file = |(name, body): &(&str, &str)| ((*name).to_owned(), Bytes::from((*body).to_owned()));
    list.iter().map(file).collect()
}

#[test]
fn modules_become_one_in_the_order_of_their_imports() {
    let files = files(&[
        (
            "js/main.js",
            "import { b as two, one } from \"./b.js\";\nimport c from \"./deep/c.js\";\none(two, c);\n",
        ),
        (
            "js/b.js",
            "/**\n * Words.\n */\n  // more\n\nexport const b = 2;\nexport async function one(x) {\n  await x;\n}\n",
        ),
        (
            "js/deep/c.js",
            "import { b } from \"./../b.js\";\nexport default b;\n",
        ),
    ]);
    // `..` is not of the plain form.
    assert!(join_modules(&files, "js/main.js").is_err());
    let mut files = files;
    files.insert(
        "js/deep/c.js".to_owned(),
        "const c = 3;\nexport default c;".into(),
    );
    let joined = join_modules(&files, "js/main.js").unwrap();
    let expected = "const _0=(()=>{\nconst b = 2;\nasync function one(x) {\nawait x;\n}\nreturn{b,one}})();\n\
        const _1=(()=>{\nconst c = 3;\n\nreturn{default:c}})();\n\
        const _2=(()=>{\nconst {b:two,one}=_0;\nconst c=_1.default;\none(two, c);\nreturn{}})();\n";
    assert_eq!(joined, expected);
    let listed = list_modules(&files, "js/main.js").unwrap();
    assert_eq!(listed, ["js/b.js", "js/deep/c.js", "js/main.js"]);
}

#[test]
fn what_is_not_of_the_plain_form_stays_as_it_is() {
    for strange in [
        "import * as a from \"./a.js\";",
        "import {\n  a\n} from \"./a.js\";",
        "import \"./a.js\";",
        "import { a } from \"elsewhere\";",
        "export let a = 1;",
        "export { a };",
        "export * from \"./a.js\";",
        "export default class {}",
        "const a = await b();",
        "if (a) {\n  await b();\n}",
        "export const a = 1, b = 2;",
        "const a = () => import(\"./lazy.js\");",
        "console.log(import.meta.url);",
        "import { a } from \"./main.js\";",
    ] {
        let files = files(&[
            ("main.js", strange),
            ("a.js", "export const a = 1;"),
            ("lazy.js", "import { a } from \"./a.js\";"),
        ]);
        assert!(join_modules(&files, "main.js").is_err(), "{strange}");
    }
    let files = files(&[
        ("js/main.js", "import { a } from \"./deep/a.js\";"),
        ("js/deep/a.js", "export const a = () => import(\"./b.js\");"),
    ]);
    assert!(join_modules(&files, "js/main.js").is_err());
}

#[test]
fn comments_go_and_texts_stay() {
    for (source, kept) in [
        (
            "a;\n  // no\n/* no\n   no */ b;\n/** @type {X} */ (c).d;\n",
            "a;\nb;\n(c).d;\n",
        ),
        ("a; // yes\n\"/* yes */\";\n", "a; // yes\n\"/* yes */\";\n"),
        ("x = `\n// yes\n  `;\n", "x = `\n// yes\n  `;\n"),
    ] {
        assert_eq!(without_comments(source), kept);
    }
}

#[test]
fn styles_are_joined_within_a_folder() {
    let files = files(&[
        ("css/a.css", "/* a */\na { b: c }\n"),
        ("css/b.css", "b { c: d }\n"),
        ("other/c.css", "c {}"),
        ("css/d.css", "@import \"e.css\";"),
    ]);
    assert_eq!(
        join_styles(&files, &["css/b.css", "css/a.css"]).unwrap(),
        "b { c: d }\na { b: c }\n"
    );
    assert!(join_styles(&files, &["css/a.css", "other/c.css"]).is_err());
    assert!(join_styles(&files, &["css/none.css"]).is_err());
    assert!(join_styles(&files, &["css/a.css", "css/d.css"]).is_err());
}
