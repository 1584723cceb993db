//! What any service of this contract does, as cases that know nothing but the SDK: run against the real one, and those that
//! are marked against the SDK's fake too.
//! Leaves what only the real one can be asked, such as its database or its bytes, to all other files.

mod beyond;
mod isolation;
mod lists;
mod products;
mod users;
mod writes;

use std::{fmt::Debug, pin::Pin};

use stead_client::{Client, Error, NewProduct, testing::Fake};
use tokio::task::JoinSet;

use crate::fixture::{figure, platform, shared, tenant};

/// Who takes part in a case.
#[derive(Clone, Debug)]
struct Ground {
    /// May do everything in a tenant that is empty.
    client: Client,
    /// The same in another tenant.
    other: Client,
    /// May only read products in the first tenant.
    reader: Client,
    /// An operator of the platform.
    operator: Client,
    /// Has no credential.
    stranger: Client,
}

impl Ground {
    async fn real() -> Self {
        let (one, other) = (tenant().await, tenant().await);
        Self {
            reader: one.client_with(&["products.read"]).await,
            client: one.client,
            other: other.client,
            operator: platform().await,
            stranger: shared().await.stranger(),
        }
    }

    fn fake() -> Self {
        let fake = Fake::new();
        let client = fake.client();
        let stranger = client.without_credentials();
        let reader = fake.caller().permissions(["products.read"]).client();
        Self { client, reader, other: fake.client_in("globex"), operator: fake.operator(), stranger }
    }
}

/// What comes of a case: an error where a call failed that should not have; what it brought is asserted.
type Outcome = Result<(), Error>;

struct Case {
    sentence: &'static str,
    /// Whether the fake must pass it; otherwise it must say that it cannot.
    is_the_fakes: bool,
    run: fn(Ground) -> Pin<Box<dyn Future<Output = Outcome> + Send>>,
}

macro_rules! cases {
    ($($place:ident { both { $($both:ident)* } real { $($real:ident)* } })*) => {
        &[$(
            $(Case { sentence: stringify!($both), is_the_fakes: true, run: |ground| Box::pin($place::$both(ground)) },)*
            $(Case { sentence: stringify!($real), is_the_fakes: false, run: |ground| Box::pin($place::$real(ground)) },)*
        )*]
    };
}

const CASES: &[Case] = cases! {
    products {
        both {
            a_created_product_reads_back_as_it_was_answered
            a_product_is_found_by_its_sku
            what_is_not_there_is_not_found
            an_id_of_ones_own_is_kept_and_given_once
            a_sku_is_one_live_products_alone
            an_update_changes_what_the_patch_names_and_nothing_else
            an_update_that_changes_nothing_keeps_the_revision
            attributes_are_set_and_removed_one_by_one
            an_update_may_create_what_is_missing
            a_deleted_product_is_gone_but_for_those_who_ask_for_it
            a_deletion_may_be_content_with_nothing
            a_deleted_product_comes_back
            stock_never_falls_below_zero
            a_read_mask_brings_what_it_names_and_the_id
            what_is_validated_only_is_not_kept
            every_broken_rule_is_told_with_its_field
            an_amount_finer_than_its_currency_is_refused
        }
        real {}
    }
    writes {
        both {
            an_outdated_etag_is_stale_and_says_the_current_one
            an_etag_of_another_product_is_stale
            a_tenant_may_demand_etags
            a_write_with_its_key_happens_once
            a_replay_is_the_first_answer_whatever_happened_since
            a_deletion_with_its_key_is_answered_again
            a_key_of_another_request_is_refused
            a_key_that_is_not_random_is_refused
            a_write_that_was_refused_may_come_again_with_its_key
            a_key_belongs_to_its_tenant
            a_key_belongs_to_its_method
            a_write_tells_its_key_and_its_trace
        }
        real {}
    }
    lists {
        both {
            a_list_brings_everything_in_the_order_of_creation
            a_list_goes_on_where_its_token_stands
            a_forged_token_is_refused
            a_token_of_another_list_is_refused
            a_count_is_of_the_whole_list
            deleted_ones_are_listed_for_those_who_ask
            a_list_by_mask_brings_what_it_names
        }
        real {
            a_filter_chooses_what_it_says
            a_list_may_be_in_another_order
        }
    }
    isolation {
        both {
            another_tenants_product_is_not_there
            two_tenants_may_have_the_same_sku
            everybody_is_told_who_they_are
            an_operator_acts_in_the_tenant_that_it_names
            a_tenant_sees_itself_and_no_other
            a_tenant_manages_no_tenants
            a_tenants_caller_names_no_tenant
            who_shows_no_credential_is_refused
            a_credential_that_does_not_hold_is_refused
            who_may_only_read_sees_no_cost_and_writes_nothing
            an_operator_creates_changes_and_deletes_a_tenant
        }
        real {}
    }
    users {
        both {
            a_user_is_found_by_address_and_name_in_any_case
            an_address_is_one_live_users_alone
            a_user_is_changed_deleted_and_brought_back
        }
        real {
            a_user_signs_in_by_password
        }
    }
    beyond {
        both {}
        real {
            products_are_created_together_or_not_at_all
            several_products_are_read_at_once
            a_product_is_as_it_was_at_a_revision
            a_search_finds_words
            an_import_settles_every_row
            a_change_is_in_the_audit_log
            a_key_is_made_and_revoked
        }
    }
};

/// The error of a call that must be refused; what the fake says it does not do is an error of the case.
fn refused<T: Debug>(result: Result<T, Error>) -> Result<Error, Error> {
    match result {
        Ok(answer) => panic!("was not refused: {answer:?}"),
        Err(error) if error.reason() == Some("NOT_IN_FAKE") => Err(error),
        Err(error) => Ok(error),
    }
}

fn new(sku: &str) -> NewProduct {
    NewProduct::new(sku, format!("Product {sku}"))
}

/// Runs cases side by side, and names those that were not as they should be.
async fn run(cases: impl Iterator<Item = (&'static Case, Ground)>, as_expected: fn(&Outcome) -> bool) -> Vec<String> {
    let mut running = JoinSet::new();
    for (case, ground) in cases {
        running.spawn(async move {
            let outcome = tokio::spawn((case.run)(ground)).await;
            match outcome {
                Ok(outcome) if as_expected(&outcome) => None,
                Ok(outcome) => Some(format!("{}: {outcome:?}", case.sentence)),
                Err(fault) => Some(format!("{}: {fault}", case.sentence)),
            }
        });
    }
    running.join_all().await.into_iter().flatten().collect()
}

#[tokio::test]
async fn the_service_is_as_the_cases_say() {
    let mut grounds = Vec::new();
    for case in CASES {
        grounds.push((case, Ground::real().await));
    }
    let faults = run(grounds.into_iter(), Result::is_ok).await;
    figure("conformance", &[("cases", CASES.len() as u64), ("failures", faults.len() as u64)]);
    assert!(CASES.len() >= 40 && faults.is_empty(), "{faults:#?}");
}

#[tokio::test]
async fn the_fake_is_as_the_service_where_it_says_so() {
    let marked = CASES.iter().filter(|case| case.is_the_fakes).map(|case| (case, Ground::fake()));
    let count = marked.clone().count();
    let faults = run(marked, Result::is_ok).await;
    figure("conformance of the fake", &[("cases", count as u64), ("failures", faults.len() as u64)]);
    assert!(count >= 30 && faults.is_empty(), "{faults:#?}");
}

#[tokio::test]
async fn the_fake_says_of_everything_else_that_it_does_not_do_it() {
    let unmarked = CASES.iter().filter(|case| !case.is_the_fakes).map(|case| (case, Ground::fake()));
    let says_so = |outcome: &Outcome| outcome.as_ref().is_err_and(|error| error.reason() == Some("NOT_IN_FAKE"));
    let faults = run(unmarked, says_so).await;
    assert!(faults.is_empty(), "{faults:#?}");
}
