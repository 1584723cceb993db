//! What must hold once everybody has been answered: each write happened once, and nothing else did.
//! Leaves answers to the callers, who compare them as they come.

use std::{collections::BTreeMap, time::Instant};

use sqlx::Row;
use stead_harness::{Database, Role};

use super::caller::{Book, Caller};
use crate::fixture::{figure, seed};

/// Counts what is in the database, prints the figure and asserts that nothing is wrong with it.
pub(crate) async fn prove(test: &str, database: &Database, callers: Vec<Caller>, started: Instant) {
    let calls = callers.first().map_or(0, |caller| caller.sky.calls());
    let tenants: Vec<_> = callers.iter().map(|caller| caller.tenant.id.uuid()).collect();
    let mut books: Vec<Book> = callers.into_iter().map(|caller| caller.book).collect();
    let mut wrong: Vec<_> = books.iter_mut().flat_map(|book| std::mem::take(&mut book.wrong)).collect();
    let writes = books.iter().map(|book| book.done.len()).sum::<usize>();
    let faults = books.iter().map(|book| book.faults).sum::<u64>();

    let mut truth = database.connect(Role::Superuser).await;
    let expected: BTreeMap<String, (&str, i64)> = books
        .iter()
        .flat_map(|book| &book.done)
        .map(|done| (done.id.to_string(), (done.method, done.entries)))
        .collect();
    let ids: Vec<_> = expected.keys().cloned().collect();
    let entries = "select request_id, count(*) from stead.journal where request_id = any($1) group by request_id";
    let entries = sqlx::query(entries).bind(&ids).fetch_all(&mut truth).await.expect("entries");
    let entries: BTreeMap<String, i64> = entries.into_iter().map(|row| (row.get(0), row.get(1))).collect();
    let (mut duplicates, mut lost) = (0, 0);
    for (id, (method, expected)) in &expected {
        let found = entries.get(id).copied().unwrap_or(0);
        duplicates += (found - expected).max(0);
        lost += (expected - found).max(0);
        if found != *expected {
            wrong.push(format!("{method} {id}: {found} changes in the journal instead of {expected}"));
        }
    }
    let rows = "select
        (select count(*) from stead.request_ids where request_id = any($2::text[]::uuid[])),
        (select count(*) from stead.products where tenant_id = any($1)),
        (select coalesce(sum(quantity), 0)::bigint from stead.products where tenant_id = any($1)),
        (select count(*) from stead.users where tenant_id = any($1))";
    let rows = sqlx::query(rows).bind(&tenants).bind(&ids).fetch_one(&mut truth).await.expect("counts");
    let sum = |of: fn(&Book) -> i64| books.iter().map(of).sum::<i64>();
    let told = [
        ("request ids are kept", writes as i64),
        ("products are there", sum(|book| book.products.len() as i64)),
        ("is what all quantities add up to", sum(|book| book.quantity)),
        ("users are there", sum(|book| book.users)),
    ];
    for (place, (what, expected)) in told.into_iter().enumerate() {
        let found: i64 = rows.get(place);
        if found != expected {
            wrong.push(format!("{found} {what} instead of {expected}"));
        }
    }

    let seconds = started.elapsed().as_secs();
    figure(
        test,
        &[
            ("calls", calls),
            ("writes", writes as u64),
            ("faults", faults),
            ("duplicates", duplicates as u64),
            ("lost", lost as u64),
            ("wrong", wrong.len() as u64),
            ("seconds", seconds),
        ],
    );
    assert!(
        wrong.is_empty(),
        "seed {}: {} things are wrong: {:#?}",
        seed(),
        wrong.len(),
        &wrong[..wrong.len().min(20)]
    );
    assert!(writes > 0, "nothing was tried");
}
