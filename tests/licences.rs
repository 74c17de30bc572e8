//! What the switch is built from may be passed on with it: every package of the build has a licence that asks for no
//! more than its notice. Works without a network; `cargo deny` asks for known faults too, but needs their list from one.

use std::process::Command;

/// Licences that ask for their notice alone (and Unicode's for its data).
const FINE: [&str; 9] = [
    "MIT",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "Unlicense",
    "Unicode-3.0",
];

/// Packages that name a file instead of a licence, and what that file is.
const BY_FILE: [(&str, &str); 2] = [("rsip", "MIT"), ("rsip-derives", "MIT")];

#[test]
fn every_package_of_the_build_has_a_licence_that_we_may_pass_on() {
    let mut found = Vec::new();
    let mut count = 0;
    for package in packages() {
        let name = package["name"].as_str().expect("a name");
        let stated = package["license"].as_str();
        let licence =
            stated.or_else(|| BY_FILE.iter().find(|(n, _)| *n == name).map(|(_, licence)| *licence));
        count += 1;
        match licence {
            Some(licence) if is_fine(licence) => {}
            Some(licence) => found.push(format!("{name}: {licence}")),
            None => found.push(format!("{name} names none")),
        }
    }
    assert!(count > 100, "{count} packages are few");
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn every_package_comes_from_the_registry() {
    for package in packages() {
        let source = package["source"].as_str().unwrap_or("registry+here");
        assert!(source.starts_with("registry+"), "{} comes from {source}", package["name"]);
    }
}

fn packages() -> Vec<serde_json::Value> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let platform = "x86_64-unknown-linux-gnu";
    let output = Command::new(cargo)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["metadata", "--locked", "--offline", "--format-version", "1", "--filter-platform", platform])
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let all: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let used = |package: &&serde_json::Value| {
        let nodes = all["resolve"]["nodes"].as_array().expect("nodes");
        nodes.iter().any(|node| node["id"] == package["id"])
    };
    all["packages"].as_array().expect("packages").iter().filter(used).cloned().collect()
}

/// An expression of SPDX: `OR` leaves the choice, `AND` does not. `/` is an old way to write `OR`.
fn is_fine(expression: &str) -> bool {
    let text = expression.replace('/', " OR ").replace(['(', ')'], " ");
    // Of the brackets that there are, all stand around an `OR` beside an `AND`.
    if expression.contains('(') {
        return text.split(" AND ").all(|part| part.split(" OR ").any(|one| FINE.contains(&one.trim())));
    }
    text.split(" OR ").any(|part| part.split(" AND ").all(|one| FINE.contains(&one.trim())))
}

#[test]
fn an_expression_is_read_as_it_is_meant() {
    for fine in
        ["MIT", "MIT/GPL-3.0", "GPL-2.0 OR MIT", "Apache-2.0 AND ISC", "(MIT OR GPL-2.0) AND Unicode-3.0"]
    {
        assert!(is_fine(fine), "{fine}");
    }
    for not in ["GPL-3.0", "MIT AND GPL-3.0", "(MIT OR Apache-2.0) AND GPL-2.0", ""] {
        assert!(!is_fine(not), "{not}");
    }
}
