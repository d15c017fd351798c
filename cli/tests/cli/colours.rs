//! Colours: where they are, where they are not, and who decides.

use crate::support::World;

const ESCAPE: char = '\u{1b}';

#[test]
fn the_option_wins_over_the_variables_and_no_wins_over_yes() {
    for (variables, option, expected) in [
        (&[][..], "", false),
        (&[("CLICOLOR_FORCE", "1")], "", true),
        (&[("CLICOLOR_FORCE", "0")], "", false),
        (&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], "", false),
        (&[("NO_COLOR", "1")], "--color always", true),
        (&[("CLICOLOR_FORCE", "1")], "--color never", false),
        (&[("CLICOLOR_FORCE", "1")], "--color=auto", true),
    ] {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let world = World::with_repo().with_environment(variables.collect());
        let plan = world.run(&format!("{option} -c taxi plan")).expect(0);
        assert_eq!(plan.out.contains(ESCAPE), expected, "{option}: {}", plan.out);
        // An error, one of the arguments, and help.
        let failed = world.run(&format!("{option} -c nowhere plan")).expect(2);
        assert_eq!(failed.err.contains(ESCAPE), expected, "{option}: {}", failed.err);
        let refused = world.run(&format!("plan --bogus {option}")).expect(2);
        assert_eq!(refused.err.contains(ESCAPE), expected, "{option}: {}", refused.err);
        let help = world.run(&format!("{option} plan --help")).expect(0);
        assert_eq!(help.out.contains(ESCAPE), expected, "{option}: {}", help.out);
    }
}

#[test]
fn what_is_for_programs_is_never_coloured() {
    let world = World::with_repo();
    for line in [
        "--color always -c taxi plan --output-format json",
        "--color always -c taxi plan --output-format markdown",
        "--color always -c taxi apply --yes --output-format json",
        "--color always -c taxi registry export",
        "--color always -c taxi feature-views list",
        "--color always completions bash",
        "--color always man",
    ] {
        let run = world.run(line).expect(0);
        assert!(!run.out.contains(ESCAPE), "{line}: {}", run.out);
    }
    let failed =
        world.run("--color always -c taxi feature-views describe nothing --output-format json").expect(4);
    assert!(!failed.err.contains(ESCAPE), "{}", failed.err);
    let refused = world.run("plan --bogus --color always --output-format json").expect(2);
    assert!(!refused.err.contains(ESCAPE), "{}", refused.err);
}
