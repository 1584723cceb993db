//! What the fields of the contract may well hold: names of what is there, texts that keep the rules, bounds.
//! Leaves what is there to whoever made it, and what breaks the rules to the hostile.

use std::collections::HashMap;

use super::{Dice, Field};

/// Words by kind. `{n}` in a word becomes a number that is hardly ever drawn twice, `{uuid}` an id.
#[derive(Debug, Clone, Default)]
pub struct Book {
    words: HashMap<&'static str, Vec<String>>,
    /// Of another tenant: never valid.
    others: Vec<String>,
}

/// The newest of a kind are kept.
const KEPT: usize = 48;

const PRODUCT_PATHS: &[&str] =
    &["sku", "display_name", "description", "price", "quantity", "tags", "category", "language_code", "*"];
const USER_PATHS: &[&str] = &["username", "displayName", "profile", "profile.team", "*"];
const TENANT_PATHS: &[&str] = &["display_name", "plan", "settings", "*"];

/// What every caller knows.
const COMMON: &[(&str, &[&str])] = &[
    ("text", &["plain", "with words in it", "größer", "𝄞 clef", "x"]),
    ("fact", &["a", "team", "colour", "größe", "k{n}"]),
    ("product", &["products/{uuid}"]),
    ("deleted product", &["products/{uuid}"]),
    ("user", &["users/{uuid}"]),
    ("deleted user", &["users/{uuid}"]),
    ("tenant", &["tenants/{uuid}"]),
    ("deleted tenant", &["tenants/{uuid}"]),
    ("api key", &["apiKeys/{uuid}"]),
    ("session", &["sessions/{uuid}"]),
    ("entry", &["auditEntries/{uuid}"]),
    ("known sku", &["sku-{n}"]),
    ("known email", &["nobody@example.com"]),
    ("known username", &["nobody"]),
    ("known slug", &["nobody"]),
    ("own tenant", &["tenants/current"]),
    ("own slug", &["nobody"]),
    ("own email", &["nobody@example.com"]),
    ("own password", &["not this one"]),
    ("sku", &["sku-{n}"; 6]),
    ("tag", &["t{n}"]),
    ("category", &["", "games", "games/board", "a_b-c/0_/1-"]),
    ("language", &["", "en", "de", "und"]),
    ("currency", &["EUR", "USD", "JPY", "KWD"]),
    ("email", &["u{n}@example.com"; 6]),
    ("username", &["u{n}"; 6]),
    ("slug", &["s{n}"; 6]),
    ("plan", &["", "standard", "gold"]),
    ("subject", &["services/fuzzed", "services/s{n}"]),
    ("permission", &["products.read", "users.read", "audit.read"]),
    ("password", &["a long password {n}", "12345678"]),
    ("etag", &["", "", "", "\"AAAAAAAAAAH0Xh1VVi9hSYct\""]),
    ("order of products", &["", "sku", "display_name desc", "price", "create_time desc"]),
    ("order of users", &["", "email", "create_time desc"]),
    ("order of tenants", &["", "slug desc", "create_time"]),
    (
        "filter of products",
        &[
            "",
            "sku:s*",
            "sku = \"sku-1\" OR sku = \"sku-2\"",
            "price.currency_code = \"EUR\" AND price >= 1",
            "category = \"games\" AND NOT tags:\"t1\"",
            "state = ACTIVE AND create_time > \"2020-01-01T00:00:00Z\"",
            "-display_name = \"x\" AND quantity < 100",
        ],
    ),
    ("query", &["plain", "words in it", "größer or -clef x", "\"with words\"", "the", "sku-{n} pl", "plian"]),
    ("prefix", &["p", "sku-", "grö", "with wo"]),
    ("facet", &["category", "tags", "price"]),
    ("order of a search", &["", "", "relevance", "create_time", "price desc"]),
    ("filter of users", &["", "email:u*", "roles:VIEWER", "state = ACTIVE", "username = \"u1\""]),
    ("order of entries", &["", "create_time", "create_time desc", "actor"]),
    (
        "filter of entries",
        &["", "actor:services/*", "action = CREATE", "resource:\"products/*\"", "request_id = \"x\""],
    ),
    ("filter of tenants", &["", "slug:s*", "state = ACTIVE", "plan = \"standard\""]),
    ("product path", PRODUCT_PATHS),
    ("user path", USER_PATHS),
    ("tenant path", TENANT_PATHS),
    ("limits path", &["rate_per_second", "burst", "calls_in_flight", "rows", "bytes", "*"]),
];

impl Book {
    /// A book of what every caller knows; names of what is there are learned.
    pub fn common() -> Self {
        let words = COMMON.iter().map(|(kind, words)| (*kind, words.iter().map(|word| (*word).to_owned()).collect()));
        Self { words: words.collect(), others: vec![] }
    }

    /// Learns a word of a kind, such as `product` or `token of products`; the oldest of many is forgotten.
    pub fn learn(&mut self, kind: &'static str, word: impl Into<String>) {
        let words = self.words.entry(kind).or_default();
        // Of what is a caller's own there is one.
        if kind.starts_with("own ") {
            words.clear();
        }
        if words.len() == KEPT {
            words.remove(0);
        }
        words.push(word.into());
    }

    /// Learns a word that another tenant alone should know.
    pub fn learn_other(&mut self, word: impl Into<String>) {
        self.others.push(word.into());
    }

    /// A word of whatever kind, that fits some other field or nobody here.
    pub(super) fn other(&self, dice: &mut Dice) -> &str {
        if !self.others.is_empty() && dice.chance(50) {
            return dice.pick::<String>(&self.others);
        }
        let kinds = ["product", "user", "api key", "session", "entry", "token of products", "sku", "etag"];
        let words = self.words.get(*dice.pick(&kinds));
        words.filter(|words| !words.is_empty()).map_or("nothing", |words| dice.pick::<String>(words))
    }

    /// How often a field is there, where its behaviour does not say it well.
    pub(super) fn presence(field: &str) -> Option<usize> {
        Some(match field {
            // Hashing takes its time.
            "CreateUserRequest.password" => 3,
            "RevokeUserSessionsRequest.user" | "ListSessionsRequest.user" => 97,
            "ApiKey.expire_time" => 10,
            "Product.etag" | "User.etag" | "Tenant.etag" | "TenantLimits.etag" => 5,
            "Limit.value" => 97,
            field if field.ends_with("Request.etag") => 10,
            field if field.ends_with(".page_token") || field.ends_with(".resume_token") => 15,
            // Two prices seldom have one currency.
            "ProductFilter.minimum_price" => 15,
            "SearchProductsRequest.filter" => 30,
            field if field.ends_with(".product_id") || field.ends_with(".user_id") => 20,
            _ => return None,
        })
    }

    /// How often it is there in a message that stands in `outer`: of a batch the whole is repeated and tried, not its entries.
    pub(super) fn presence_in(field: &Field, outer: &str) -> usize {
        let of_the_whole = [".request_id", ".validate_only", ".allow_missing"];
        let is_entrys = outer.ends_with(".requests") && of_the_whole.iter().any(|name| field.name.ends_with(name));
        if is_entrys { 2 } else { field.presence }
    }

    /// A text that the field may well hold, at this place of a list; `outer` is the field that holds its message.
    pub(super) fn text(&self, field: &Field, outer: &str, at: usize, dice: &mut Dice) -> String {
        let kind = if field.word == PATH { path(outer) } else { field.word };
        match kind {
            "uuid" | "uuid4" => return uuid(dice),
            "tag" => return format!("t{at}"),
            _ => {}
        }
        match self.words.get(kind) {
            Some(words) if kind == "permission" => words[at % words.len()].clone(),
            Some(words) => filled(dice.pick::<String>(words), dice),
            // A token that nobody was given yet: the first page.
            None => String::new(),
        }
    }

    /// How many entries of a list.
    pub(super) fn count(&self, field: &Field, depth: usize, dice: &mut Dice) -> usize {
        match field.name.as_str() {
            "User.roles" => dice.roll(2),
            "ApiKey.permissions" => dice.roll(4),
            "SearchProductsRequest.facets" => dice.roll(2),
            "Struct.fields" | "ListValue.values" if depth > 6 => 0,
            "Struct.fields" | "ListValue.values" => dice.roll(3),
            // Two entries of the same thing are refused.
            name if name.ends_with(".requests") => 1 + dice.roll(10) / 7,
            _ => 1 + dice.roll(3),
        }
    }

    pub(super) fn number(&self, field: &Field, dice: &mut Dice) -> i64 {
        match field.name.as_str() {
            "Money.units" => dice.roll(1000) as i64,
            "Money.nanos" | "Timestamp.nanos" => 0,
            "Timestamp.seconds" => 4_000_000_000 + dice.roll(1000) as i64,
            "Tenant.audit_retention_days" => *dice.pick(&[0, 0, 30, 3650]),
            "Limit.value" => 1 + dice.roll(100) as i64,
            "AdjustProductQuantityRequest.delta" => *dice.pick(&[1, 1, 2, -1]),
            "ImportProductsChunk.first_row"
            | "GetProductRevisionRequest.revision"
            | "RollbackProductRequest.revision" => 1,
            field if field.ends_with(".page_size") => *dice.pick(&[0, 1, 2, 7, 1000, 1001]),
            _ => dice.roll(100) as i64,
        }
    }

    /// Half of the writes leave nothing behind, and what is looked for may be deleted or missing.
    pub(super) fn flag(&self, field: &Field, dice: &mut Dice) -> bool {
        let percent = match field.name.as_str() {
            name if name.ends_with(".allow_missing") => 70,
            "Tenant.require_etag" => 10,
            _ => 50,
        };
        dice.chance(percent)
    }

    pub(super) fn choice(&self, field: &Field, choices: &[i32], at: usize, dice: &mut Dice) -> i32 {
        match field.name.as_str() {
            "User.roles" => [4, 3, 2][at % 3],
            "User.state" => *dice.pick(&[0, 1, 1, 2]),
            _ => *dice.pick(choices),
        }
    }

    /// The longest text in characters, the most entries: what the contract's comments say.
    pub(super) fn bound(field: &str) -> usize {
        match field {
            "Product.sku" | "LookupProductRequest.sku" => 100,
            "Product.description" => 100 * 1024,
            "SearchProductsRequest.query" => 1000,
            "SearchProductsRequest.facets" => 3,
            "SuggestProductsRequest.prefix" => 100,
            "ProductFilter.tags" => 20,
            "Product.tags" | "ApiKey.permissions" => 50,
            "User.roles" => 4,
            "Tenant.slug" | "Tenant.plan" | "LookupTenantRequest.slug" | "CreateSessionRequest.tenant" => 63,
            "ImportProductsChunk.rows" => 500,
            "User.username" | "LookupUserRequest.username" => 64,
            "Struct.fields" | "ListValue.values" => 2000,
            name if name.ends_with(".email") => 254,
            name if name.ends_with(".filter") => 2048,
            name if name.ends_with(".password") => 1024,
            name if name.ends_with(".names") || name.ends_with(".requests") || name.ends_with(".paths") => 1000,
            name if name.ends_with("_token") => 400,
            name if name.ends_with("_id") => 36,
            _ => 200,
        }
    }
}

/// A word with its places filled.
fn filled(word: &str, dice: &mut Dice) -> String {
    match word.split_once('{') {
        Some((begin, "n}")) => format!("{begin}{}", dice.number()),
        Some((begin, "uuid}")) => format!("{begin}{}", uuid(dice)),
        _ => word.replace("{n}", &dice.number().to_string()),
    }
}

/// The kind of a mask's words, which is its message's.
const PATH: &str = "path";

fn path(mask: &str) -> &'static str {
    match mask {
        mask if mask.contains("User") => "user path",
        mask if mask.contains("Limits") => "limits path",
        mask if mask.contains("Tenant") => "tenant path",
        _ => "product path",
    }
}

/// The kind of word that a field holds.
pub(super) fn kind(field: &str) -> &'static str {
    match field {
        "UndeleteProductRequest.name" => "deleted product",
        "UndeleteUserRequest.name" => "deleted user",
        "UndeleteTenantRequest.name" => "deleted tenant",
        "GetTenantRequest.name" | "GetTenantLimitsRequest.name" | "GetTenantUsageRequest.name" => "own tenant",
        "InvalidateCacheRequest.name" => "own tenant",
        "TenantLimits.name" => "tenant",
        "RevokeApiKeyRequest.name" => "api key",
        "ExtendSessionRequest.name" | "RevokeSessionRequest.name" => "session",
        "GetAuditEntryRequest.name" => "entry",
        "RevokeUserSessionsRequest.user" | "ListSessionsRequest.user" => "user",
        "CreateSessionRequest.tenant" => "own slug",
        "CreateSessionRequest.email" => "own email",
        "CreateSessionRequest.password" => "own password",
        "SetUserPasswordRequest.name" => "user",
        "LookupProductRequest.sku" => "known sku",
        "LookupUserRequest.email" => "known email",
        "LookupUserRequest.username" => "known username",
        "LookupTenantRequest.slug" => "known slug",
        "ListProductsRequest.order_by" => "order of products",
        "ListUsersRequest.order_by" => "order of users",
        "ListTenantsRequest.order_by" => "order of tenants",
        "ListProductsRequest.filter" => "filter of products",
        "ListUsersRequest.filter" => "filter of users",
        "ListTenantsRequest.filter" => "filter of tenants",
        "ListAuditEntriesRequest.order_by" => "order of entries",
        "ListAuditEntriesRequest.filter" | "ExportAuditEntriesRequest.filter" => "filter of entries",
        "ListProductsRequest.page_token" => "token of products",
        "ListProductRevisionsRequest.page_token" => "token of revisions",
        "ListUsersRequest.page_token" => "token of users",
        "ListTenantsRequest.page_token" => "token of tenants",
        "ListApiKeysRequest.page_token" => "token of keys",
        "ListSessionsRequest.page_token" => "token of sessions",
        "ListAuditEntriesRequest.page_token" => "token of entries",
        "ExportProductsRequest.resume_token" => "token of an export",
        "ExportAuditEntriesRequest.resume_token" => "token of an export of entries",
        "SearchProductsRequest.query" => "query",
        "SearchProductsRequest.facets" => "facet",
        "SearchProductsRequest.order_by" => "order of a search",
        "SearchProductsRequest.page_token" => "token of a search",
        "SuggestProductsRequest.prefix" => "prefix",
        "Product.sku" => "sku",
        "Product.tags" | "ProductFilter.tags" => "tag",
        "Product.category" | "ProductFilter.category" => "category",
        "Product.language_code" | "SearchProductsRequest.language_code" => "language",
        "Money.currency_code" => "currency",
        "User.email" => "email",
        "User.username" => "username",
        "Tenant.slug" => "slug",
        "Tenant.plan" => "plan",
        "ApiKey.subject" => "subject",
        "ApiKey.permissions" => "permission",
        "FieldMask.paths" => PATH,
        name if name.ends_with("FieldsEntry.key") => "fact",
        name if name.ends_with("Product.name") || name.contains("Product") && is_name(name) => "product",
        name if name.ends_with("User.name") || name.contains("User") && is_name(name) => "user",
        name if name.ends_with("Tenant.name") || name.contains("Tenant") && is_name(name) => "tenant",
        name if name.ends_with(".request_id") => "uuid4",
        name if name.ends_with("_id") => "uuid",
        name if name.ends_with(".etag") => "etag",
        name if name.ends_with(".password") => "password",
        _ => "text",
    }
}

fn is_name(field: &str) -> bool {
    field.ends_with("Request.name") || field.ends_with("Request.names")
}

/// A UUID of version 4.
fn uuid(dice: &mut Dice) -> String {
    let (high, low) = (dice.number(), dice.number());
    let (high, low) = (high & !0xf000 | 0x4000, low & !(3 << 62) | 1 << 63);
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xffff,
        low >> 48,
        low & 0xffff_ffff_ffff
    )
}
