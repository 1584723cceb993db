//! Cases of lists: pages, tokens, counts, and what is left out of them.
//! Leaves who sees which rows to `isolation`.

use stead_client::{Client, CountMode, Error, ErrorKind, Product, TotalKind};

use super::{Ground, Outcome, new, refused};

async fn made(client: &Client, count: usize) -> Result<Vec<Product>, Error> {
    let mut all = Vec::new();
    for number in 0..count {
        // Skus that fall while creation goes on: neither order can be taken for the other.
        all.push(client.products().create(new(&format!("sku-{:02}", 99 - number))).send().await?);
    }
    Ok(all)
}

pub(super) async fn a_list_brings_everything_in_the_order_of_creation(Ground { client, .. }: Ground) -> Outcome {
    assert_eq!(client.products().list().items().collect().await?, []);
    let all = made(&client, 7).await?;
    for size in [1, 3, 7, 50] {
        assert_eq!(client.products().list().page_size(size).items().collect().await?, all, "{size}");
    }
    let mut pages = client.products().list().page_size(3).pages();
    let mut sizes = Vec::new();
    while let Some(page) = pages.next().await? {
        sizes.push(page.items.len());
    }
    assert_eq!(sizes, [3, 3, 1]);
    Ok(())
}

pub(super) async fn a_list_goes_on_where_its_token_stands(Ground { client, .. }: Ground) -> Outcome {
    let all = made(&client, 5).await?;
    let mut pages = client.products().list().page_size(2).pages();
    let first = pages.next().await?.expect("a page");
    let token = first.next_page_token.expect("there is more");
    // What comes and goes meanwhile moves nothing.
    client.products().delete(all[0].id).send().await?;
    let late = client.products().create(new("late")).send().await?;
    let rest = client.products().list().resume(token).items().collect().await?;
    assert_eq!(rest, [&all[2..], &[late]].concat());
    Ok(())
}

pub(super) async fn a_forged_token_is_refused(Ground { client, other, .. }: Ground) -> Outcome {
    made(&client, 3).await?;
    let first = client.products().list().page_size(2).pages().next().await?.expect("a page");
    let token = first.next_page_token.expect("there is more");
    for (client, token) in [(&client, "x"), (&client, "AAAA"), (&other, token.as_str())] {
        let error = refused(client.products().list().resume(token).items().collect().await)?;
        assert_eq!((error.reason(), error.violations()[0].field.as_str()), (Some("PAGE_TOKEN_INVALID"), "page_token"));
    }
    Ok(())
}

pub(super) async fn a_token_of_another_list_is_refused(Ground { client, .. }: Ground) -> Outcome {
    made(&client, 3).await?;
    let first = client.products().list().page_size(2).pages().next().await?.expect("a page");
    let token = first.next_page_token.expect("there is more");
    let error = refused(client.products().list().show_deleted(true).resume(token).items().collect().await)?;
    assert_eq!((error.reason(), error.violations()[0].field.as_str()), (Some("PAGE_TOKEN_MISMATCH"), "page_token"));
    Ok(())
}

pub(super) async fn a_count_is_of_the_whole_list(Ground { client, .. }: Ground) -> Outcome {
    let all = made(&client, 5).await?;
    client.products().delete(all[1].id).send().await?;
    let mut pages = client.products().list().page_size(3).count(CountMode::Exact).pages();
    let mut seen = 0;
    while let Some(page) = pages.next().await? {
        let total = page.total.expect("a count");
        assert_eq!((total.size, total.kind), (4, TotalKind::Exact));
        seen += page.items.len();
    }
    let mut uncounted = client.products().list().items();
    uncounted.next().await?;
    assert_eq!((seen, uncounted.total()), (4, None));
    Ok(())
}

pub(super) async fn deleted_ones_are_listed_for_those_who_ask(Ground { client, .. }: Ground) -> Outcome {
    let all = made(&client, 3).await?;
    let deleted = client.products().delete(all[1].id).send().await?;
    let live = client.products().list().items().collect().await?;
    assert_eq!(live, [all[0].clone(), all[2].clone()]);
    let every = client.products().list().show_deleted(true).page_size(1).items().collect().await?;
    assert_eq!(every, [all[0].clone(), deleted, all[2].clone()]);
    Ok(())
}

pub(super) async fn a_list_by_mask_brings_what_it_names(Ground { client, .. }: Ground) -> Outcome {
    let all = made(&client, 2).await?;
    let parts = client.products().list().read_mask(["sku"]).items().collect().await?;
    let of = |product: &Product| (product.id, product.sku.clone());
    assert_eq!(parts.iter().map(of).collect::<Vec<_>>(), all.iter().map(of).collect::<Vec<_>>());
    assert!(parts.iter().all(|part| part.display_name.is_empty() && part.revision == 0));
    let error = refused(client.products().list().read_mask(["colour"]).items().collect().await)?;
    assert!(matches!(error.kind(), ErrorKind::Invalid { .. }), "{error}");
    Ok(())
}

pub(super) async fn a_filter_chooses_what_it_says(Ground { client, .. }: Ground) -> Outcome {
    let all = made(&client, 3).await?;
    let chosen = client.products().list().filter(r#"sku = "sku-98""#).items().collect().await?;
    assert_eq!(chosen, [all[1].clone()]);
    Ok(())
}

pub(super) async fn a_list_may_be_in_another_order(Ground { client, .. }: Ground) -> Outcome {
    let mut all = made(&client, 3).await?;
    all.reverse();
    assert_eq!(client.products().list().order_by("sku").page_size(2).items().collect().await?, all);
    Ok(())
}
