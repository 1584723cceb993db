//! The journal has one entry for each change that was committed and no other, whatever the writers do and however their calls
//! end; and what it tells, replayed from nothing, comes to the rows that stand.
//! Leaves changes by hand to `coverage`. `STEAD_SOAK` counts the writes that are asked for, each row of a batch or an import
//! as one (`make soak G=12`).

mod ledger;
mod writers;

use std::time::Instant;

use stead_harness::{Database, Role};

use self::{
    ledger::{Faults, compare, open},
    writers::write,
};
use super::ground::run;
use crate::fixture::{SOON, Server, Size, figure, seed};

/// Everything that a comparison may find wrong, in the words of its figure.
fn numbers(faults: &Faults) -> [(&'static str, u64); 5] {
    [
        ("missing", faults.missing),
        ("surplus", faults.surplus),
        ("revisions_amiss", faults.revisions),
        ("rows_amiss", faults.rows),
        ("authors_amiss", faults.authors),
    ]
}

#[tokio::test]
async fn the_journal_has_an_entry_for_each_committed_change_and_no_other() {
    let (started, size) = (Instant::now(), Size::of(1_500, 100));
    let database = Database::fresh().await;
    open(&database).await;
    let server = Server::with(database, &[("STEAD_DATABASE_POOL_SIZE", "8")]).await;
    let done = write(&server, size).await;
    // Nothing is under way any more when the rows are counted.
    let Server { database, running, .. } = server;
    running.terminate();
    running.wait(SOON).await;
    let faults = compare(&database).await;
    let told = [
        ("calls", done.asked),
        ("refused", done.refused),
        ("given_up", done.given_up),
        ("changes", faults.changes),
        ("entries", faults.entries),
        ("replayed", faults.replayed),
    ];
    let seconds = [("failures", faults.sum()), ("seconds", started.elapsed().as_secs())];
    figure("the_journal_has_an_entry_for_each_change", &[&told[..], &numbers(&faults), &seconds].concat());
    assert_eq!(faults.sum(), 0, "seed {}: {faults:?}", seed());
    assert!(
        faults.changes > 300 && faults.replayed > 100 && done.refused > 50 && done.given_up > 5,
        "{done:?} {faults:?}"
    );
}

/// How a breach shows.
type Shown = fn(&Faults) -> u64;

/// What is broken in the database while the writers write.
const BREACHES: &[(&str, Shown)] = &[
    ("alter table stead.products disable trigger journal", |faults| faults.missing),
    (
        "create trigger journal_twice after insert or update or delete on stead.products
           for each row execute function stead_journal.products()",
        |faults| faults.surplus,
    ),
    ("{new.quantity <> old.quantity => new.quantity < old.quantity}", |faults| faults.rows),
    (
        "create trigger another before update on stead.products for each row execute function ledger.another()",
        |faults| faults.authors,
    ),
];

#[tokio::test]
async fn a_journal_that_misses_doubles_or_garbles_is_noticed() {
    let mut calls = 0;
    for (breach, shown) in BREACHES {
        let database = Database::fresh().await;
        open(&database).await;
        let server = Server::with(database, &[("STEAD_DATABASE_POOL_SIZE", "8")]).await;
        // Its start would not pass over some of these.
        server.tenant().await;
        let mut truth = server.database.connect(Role::Superuser).await;
        match breach.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
            None => run(&mut truth, breach).await,
            Some(edit) => {
                let (from, to) = edit.split_once(" => ").expect("an edit");
                let query = "select pg_get_functiondef('stead_journal.products()'::regprocedure)";
                let source: String = sqlx::query_scalar(query).fetch_one(&mut truth).await.expect("a function");
                assert!(source.contains(from), "{from}");
                run(&mut truth, &source.replace(from, to)).await;
            }
        }
        calls += write(&server, Size::of(150, 1)).await.asked;
        let Server { database, running, .. } = server;
        running.terminate();
        running.wait(SOON).await;
        let faults = compare(&database).await;
        assert!(shown(&faults) > 0, "nobody noticed: {breach}: {faults:?}");
    }
    figure("a_journal_that_misses", &[("calls", calls), ("breaches", BREACHES.len() as u64), ("missed", 0)]);
}
