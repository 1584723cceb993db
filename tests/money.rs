//! Money, as ISO 4217 counts it: which currencies there are, how fine each is, and what is refused, also in filters.
//! Leaves amounts as the SDK writes and reads them to the SDK's own tests.

use std::{collections::BTreeMap, sync::LazyLock};

use prost::Message;
use stead_api::{
    google::r#type::Money,
    v1::{self, import_products_request::Step},
};
use tonic::{Code, Streaming};
use uuid::Uuid;

use crate::fixture::{Refusal, Refused, Tenant, call, stream, tenant};

/// The currencies of ISO 4217 by how many decimals they have, those among them that were withdrawn lately and may stand in
/// data for years. What has no minor unit there (gold, special drawing rights, testing, none) has no amounts here.
const DECIMALS: [(u32, &str); 4] = [
    (0, "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"),
    (
        2,
        "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF CHW \
         CNY COP COU CRC CUC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HRK HTG \
         HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK \
         MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE \
         SLL SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XAD XCD XCG YER \
         ZAR ZMW ZWG ZWL",
    ),
    (3, "BHD IQD JOD KWD LYD OMR TND"),
    (4, "CLF UYW"),
];
const WITHOUT_MINOR_UNIT: &str = "XAG XAU XBA XBB XBC XBD XDR XPD XPT XSU XTS XUA XXX";

/// Each currency and its decimals.
pub(crate) static CURRENCIES: LazyLock<BTreeMap<&str, u32>> = LazyLock::new(|| {
    DECIMALS.iter().flat_map(|(decimals, codes)| codes.split(' ').map(|code| (code, *decimals))).collect()
});

fn money(currency: &str, units: i64, nanos: i32) -> Option<Money> {
    Some(Money { currency_code: currency.into(), units, nanos })
}

/// The amount of so many billionths.
fn billionths(currency: &str, count: u64) -> Option<Money> {
    money(currency, (count / 1_000_000_000) as i64, (count % 1_000_000_000) as i32)
}

/// An import by hand, which tells of each row apart what it broke.
struct Rows {
    sender: tokio::sync::mpsc::Sender<Vec<u8>>,
    answers: Streaming<Vec<u8>>,
    next: i64,
}

impl Rows {
    async fn open(tenant: &Tenant) -> Self {
        let (sender, answers) = stream(&tenant.client, "ProductService/ImportProducts").await.expect("an import");
        let mut rows = Self { sender, answers, next: 1 };
        rows.say(Step::Start(v1::ImportProductsStart { import_id: Uuid::new_v4().to_string() })).await;
        rows
    }

    async fn say(&mut self, step: Step) -> v1::ImportProductsResponse {
        let message = v1::ImportProductsRequest { step: Some(step) };
        self.sender.send(message.encode_to_vec()).await.expect("sent");
        let answer = self.answers.message().await.expect("settled").expect("an answer");
        v1::ImportProductsResponse::decode(&*answer).expect("an answer")
    }

    /// Imports products with these prices; gives each refused one's place and broken fields.
    async fn priced(&mut self, prices: &[Option<Money>]) -> BTreeMap<usize, Vec<String>> {
        let mut refused = BTreeMap::new();
        for (chunk, prices) in prices.chunks(500).enumerate() {
            let row = |(at, price): (usize, &Option<Money>)| v1::Product {
                sku: format!("{}", self.next + at as i64),
                display_name: "x".into(),
                price: price.clone(),
                ..v1::Product::default()
            };
            let (first_row, rows) = (self.next, prices.iter().enumerate().map(row).collect());
            self.next += prices.len() as i64;
            let answer = self.say(Step::Chunk(v1::ImportProductsChunk { first_row, rows })).await;
            for fault in answer.faults {
                let fields = fault.violations.into_iter().map(|violation| violation.field).collect();
                refused.insert(chunk * 500 + (fault.row - first_row) as usize, fields);
            }
        }
        refused
    }
}

#[tokio::test]
async fn exactly_the_currencies_of_iso_4217_have_amounts() {
    let tenant = tenant().await;
    let letters = || (b'A'..=b'Z').map(char::from);
    let codes: Vec<String> = letters()
        .flat_map(|one| letters().flat_map(move |two| letters().map(move |three| [one, two, three].iter().collect())))
        .collect();
    let prices: Vec<_> = codes.iter().map(|code| money(code, 1, 0)).collect();
    let refused = Rows::open(&tenant).await.priced(&prices).await;
    let taken: Vec<_> =
        codes.iter().enumerate().filter(|(at, _)| !refused.contains_key(at)).map(|(_, code)| code).collect();
    assert_eq!(taken, CURRENCIES.keys().collect::<Vec<_>>());
    assert!(refused.values().all(|fields| fields == &["price.currency_code"]), "{refused:?}");
    assert!(WITHOUT_MINOR_UNIT.split(' ').all(|code| !taken.iter().any(|taken| *taken == code)));
    for code in &codes {
        let counted = stead_client::Money::from_minor_units(code, 1).is_ok();
        assert_eq!(counted, CURRENCIES.contains_key(code.as_str()), "the SDK and the service differ about {code}");
    }
}

#[tokio::test]
async fn every_currency_is_as_fine_as_the_standard_says_and_no_finer() {
    let tenant = tenant().await;
    let mut rows = Rows::open(&tenant).await;
    let finest = |decimals: u32| 10_u64.pow(9 - decimals);
    let amounts: Vec<_> =
        CURRENCIES.iter().map(|(code, decimals)| billionths(code, 1_000_000_000 + finest(*decimals))).collect();
    assert!(rows.priced(&amounts).await.is_empty());
    let shown = tenant.client.products().list().order_by("create_time").page_size(1000).items().collect().await;
    let mut shown: Vec<_> = shown.expect("a list").into_iter().map(|product| product.price.expect("a price")).collect();
    shown.sort_by(|one, other| one.currency().cmp(other.currency()));
    for ((code, decimals), price) in CURRENCIES.iter().zip(&shown) {
        assert_eq!((price.currency(), price.minor_units()), (*code, Some(10_i64.pow(*decimals) + 1)));
    }
    let finer: Vec<_> =
        CURRENCIES.iter().map(|(code, decimals)| billionths(code, 1_000_000_000 + finest(*decimals) / 10)).collect();
    let refused = rows.priced(&finer).await;
    assert_eq!(refused.len(), CURRENCIES.len());
    assert!(refused.values().all(|fields| fields == &["price.nanos"]), "{refused:?}");
}

#[tokio::test]
async fn amounts_are_refused_alike_by_every_write() {
    let tenant = tenant().await;
    let standing = v1::Product { sku: "standing".into(), display_name: "x".into(), ..Default::default() };
    let request = v1::CreateProductRequest { product: Some(standing), ..Default::default() };
    let made = call::<_, v1::Product>(&tenant.client, "ProductService/CreateProduct", &request).await;
    let standing = made.expect("created").into_inner();
    // (amount, the field below the price that is told; none: it is taken)
    let amounts: [(Option<Money>, Option<&str>); 20] = [
        (money("EUR", 10, 500_000_000), None),
        (money("JPY", 500, 0), None),
        (money("KWD", 1, 5_000_000), None),
        (money("EUR", 0, 0), None),
        (money("EUR", 92_233_720_368_547_758, 70_000_000), None),
        (money("JPY", i64::MAX, 0), None),
        (money("KWD", 9_223_372_036_854_775, 807_000_000), None),
        (money("EUR", 10, 505_000_000), Some(".nanos")),
        (money("JPY", 500, 1), Some(".nanos")),
        (money("JPY", 0, 500_000_000), Some(".nanos")),
        (money("KWD", 1, 5_500_000), Some(".nanos")),
        (money("EUR", 92_233_720_368_547_758, 80_000_000), Some(".units")),
        (money("EUR", i64::MAX, 0), Some(".units")),
        (money("KWD", 9_223_372_036_854_775, 808_000_000), Some(".units")),
        (money("EUR", -1, 0), Some("")),
        (money("EUR", 1, -500_000_000), Some("")),
        (money("EUR", -1, 500_000_000), Some("")),
        (money("EUR", 0, 1_000_000_000), Some("")),
        (money("eur", 1, 0), Some(".currency_code")),
        (money("XAU", 1, 0), Some(".currency_code")),
    ];
    let mut rows = Rows::open(&tenant).await;
    let prices: Vec<_> = amounts.iter().map(|(amount, _)| amount.clone()).collect();
    let by_row = rows.priced(&prices).await;
    for (at, (amount, told)) in amounts.into_iter().enumerate() {
        let fields = |prefix: &str, field: &str| {
            told.map(|below| format!("{prefix}{field}{below}")).into_iter().collect::<Vec<_>>()
        };
        assert_eq!(by_row.get(&at).cloned().unwrap_or_default(), fields("", "price"), "import: {amount:?}");
        for field in ["price", "cost"] {
            let mut product = v1::Product { sku: format!("{field}-{at}"), ..standing.clone() };
            *(if field == "price" { &mut product.price } else { &mut product.cost }) = amount.clone();
            product.etag.clear();
            let create = v1::CreateProductRequest { product: Some(product.clone()), ..Default::default() };
            let mask = Some(prost_types::FieldMask { paths: vec![field.to_owned()] });
            let update = v1::UpdateProductRequest { product: Some(product), update_mask: mask, ..Default::default() };
            let batch = v1::BatchCreateProductsRequest {
                requests: vec![create.clone()],
                validate_only: true,
                ..Default::default()
            };
            let broken = |refused: Option<Refusal>| refused.map(|refusal| refusal.fields).unwrap_or_default();
            let created = call::<_, v1::Product>(&tenant.client, "ProductService/CreateProduct", &create).await;
            let updated = call::<_, v1::Product>(&tenant.client, "ProductService/UpdateProduct", &update).await;
            for (answer, what) in [(&created, "create"), (&updated, "update")] {
                if let Ok(answer) = answer {
                    let product = answer.get_ref();
                    let shown = if field == "price" { &product.price } else { &product.cost };
                    assert_eq!(shown, &amount, "{what}");
                }
                let refused = answer.as_ref().err().map(Refusal::from);
                assert_eq!(broken(refused), fields("product.", field), "{what}: {amount:?}");
            }
            if told.is_some() {
                let batched = call::<_, v1::BatchCreateProductsResponse>(
                    &tenant.client,
                    "ProductService/BatchCreateProducts",
                    &batch,
                );
                assert_eq!(batched.await.refusal().fields, fields("requests[0].product.", field), "{amount:?}");
            }
        }
    }
}

#[tokio::test]
async fn filters_compare_amounts_in_the_currency_that_their_conjunction_names() {
    let tenant = tenant().await;
    let prices = ["10.50 EUR", "10.51 EUR", "0.99 EUR", "499 JPY", "500 JPY", "1.004 KWD", "1.005 KWD"];
    let mut standing: Vec<_> =
        prices.iter().map(|price| crate::products::new(price).price(price.parse().expect("an amount"))).collect();
    standing.push(crate::products::new("none"));
    tenant.client.products().batch_create(standing).send().await.expect("created");
    let found = async |filter: &str| {
        let found = tenant.client.products().list().filter(filter).order_by("sku").items().collect().await;
        found.map(|found| found.into_iter().map(|product| product.sku).collect::<Vec<_>>())
    };
    for (filter, skus) in [
        (r#"price.currency_code = "EUR" AND price >= 10.50"#, &["10.50 EUR", "10.51 EUR"][..]),
        (r#"price > 10.5 price.currency_code = "EUR""#, &["10.51 EUR"]),
        (r#"price.currency_code = "EUR" AND price = 10.500"#, &["10.50 EUR"]),
        (r#"price.currency_code = "JPY" AND price < 500"#, &["499 JPY"]),
        (r#"price.currency_code = "JPY" AND price <= 500.00"#, &["499 JPY", "500 JPY"]),
        (r#"price.currency_code = "KWD" AND price = 1.005"#, &["1.005 KWD"]),
        (r#"price.currency_code = "KWD" AND price != 1.005"#, &["1.004 KWD"]),
        (r#"price.currency_code = "EUR" AND (price < 1 OR price > 10.50)"#, &["0.99 EUR", "10.51 EUR"]),
        (r#"price.currency_code = "EUR" AND NOT price > 10"#, &["0.99 EUR"]),
        (
            r#"NOT (price.currency_code = "EUR" AND price > 1)"#,
            &["0.99 EUR", "1.004 KWD", "1.005 KWD", "499 JPY", "500 JPY", "none"],
        ),
        (
            r#"(price.currency_code = "EUR" AND price < 1) OR (price.currency_code = "JPY" AND price >= 500)"#,
            &["0.99 EUR", "500 JPY"],
        ),
        (r#"price.currency_code = "EUR" AND (price.currency_code = "JPY" AND price > 1)"#, &[]),
        (r#"price.currency_code = "EUR" AND price < -1"#, &[]),
        ("NOT price:*", &["none"]),
    ] {
        assert_eq!(found(filter).await.unwrap_or_else(|error| panic!("{filter}: {error}")), skus, "{filter}");
    }
    for filter in [
        "price >= 10.50",
        "NOT price < 1",
        r#"price.currency_code = "EUR" OR price > 1"#,
        r#"price.currency_code != "EUR" AND price > 1"#,
        r#"NOT price.currency_code = "EUR" AND price > 1"#,
        r#"-price.currency_code = "EUR" price > 1"#,
        r#"(price.currency_code = "EUR" OR quantity = 0) AND price > 1"#,
        r#"(price.currency_code = "EUR" AND quantity = 0) OR price > 1"#,
        r#"cost.currency_code = "EUR" AND price > 1"#,
        r#"price.currency_code = "EUR" AND cost > 1"#,
        r#"price.currency_code = "EUR" AND price = 10.505"#,
        r#"price.currency_code = "JPY" AND price = 0.5"#,
        r#"price.currency_code = "KWD" AND price = 1.0005"#,
        r#"price.currency_code = "XAU" AND price > 1"#,
        r#"price.currency_code = "EUR" AND price > 92233720368547758.08"#,
    ] {
        let refused = found(filter).await.refusal();
        assert!(refused.is(Code::InvalidArgument, "FILTER_INVALID"), "{filter}: {refused:?}");
        assert_eq!(refused.fields, ["filter"], "{filter}");
    }
}
