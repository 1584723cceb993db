//! JWTs that do not hold, each for one reason: what its header says, what it claims, how it is signed, how it is written.
//! Leaves sending them to `forged`.

use chrono::Utc;
use data_encoding::{BASE64, BASE64URL_NOPAD};
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};
use stead_client::TenantId;

use super::{
    issuer::{AUDIENCE, NARROW, Signer, but, claims, encoded, signed},
    keys::Case,
};

/// What the forger knows and has.
pub(super) struct Forger<'a> {
    /// Trusted, by ES256.
    pub(super) ec: &'a Signer,
    /// Trusted, by RS256.
    pub(super) rsa: &'a Signer,
    /// Nobody's.
    pub(super) own: Signer,
    pub(super) own_rsa: Signer,
    pub(super) tenant: TenantId,
    /// Where the narrow issuer has no say.
    pub(super) deleted: TenantId,
    /// Users who may not act here: unknown, disabled, deleted, another tenant's.
    pub(super) users: Vec<(&'static str, String)>,
}

impl Forger<'_> {
    pub(super) fn cases(&self) -> Vec<Case> {
        [self.algorithms(), self.headers(), self.claimed(), self.times(), self.texts()].concat()
    }

    fn claims(&self) -> Value {
        claims(self.tenant)
    }

    /// The confusion of algorithms: `none`, a public key as a secret, another algorithm of the same key, a stranger's key.
    fn algorithms(&self) -> Vec<Case> {
        let claims = self.claims();
        let mut cases = vec![];
        for none in ["none", "None", "NONE", "nOnE", ""] {
            let unsigned =
                format!("{}.{}.", encoded(&json!({ "alg": none }).to_string()), encoded(&claims.to_string()));
            cases.push((format!("alg {none:?}, unsigned"), unsigned.clone()));
            cases.push((
                format!("alg {none:?}, with a kid"),
                unsigned.replacen(
                    &encoded(&json!({ "alg": none }).to_string()),
                    &encoded(&json!({ "alg": none, "kid": self.ec.kid }).to_string()),
                    1,
                ),
            ));
            cases.push((
                format!("alg {none:?}, signed"),
                self.ec.sign(&json!({ "alg": none, "kid": self.ec.kid }), &claims),
            ));
        }
        for signer in [self.ec, self.rsa] {
            let der = signer.public.lines().filter(|line| !line.starts_with('-')).collect::<String>();
            let der = BASE64.decode(der.as_bytes()).expect("base64");
            for (form, secret) in [
                ("PEM", signer.public.as_bytes()),
                ("bare PEM", signer.public.trim().as_bytes()),
                ("DER", &der),
                ("nothing", b""),
            ] {
                for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
                    let header = but(&signer.header(), json!({ "alg": format!("{algorithm:?}") })).to_string();
                    let token = signed(&header, &claims.to_string(), &EncodingKey::from_secret(secret), algorithm);
                    cases.push((format!("{algorithm:?} by the {form} of {}", signer.kid), token));
                }
            }
        }
        // The right key by an algorithm that is not its own.
        for algorithm in [Algorithm::RS384, Algorithm::RS512, Algorithm::PS256, Algorithm::PS384, Algorithm::PS512] {
            let header = but(&self.rsa.header(), json!({ "alg": format!("{algorithm:?}") })).to_string();
            let token = signed(&header, &claims.to_string(), &self.rsa.private, algorithm);
            cases.push((format!("{algorithm:?} by the key for RS256"), token));
        }
        let header = self.rsa.header().to_string();
        let token = signed(&header, &claims.to_string(), &self.rsa.private, Algorithm::PS256);
        cases.push(("PS256 under the name RS256".into(), token));
        for (what, header) in [
            ("no alg", json!({ "kid": self.ec.kid })),
            ("alg null", json!({ "kid": self.ec.kid, "alg": null })),
            ("alg a number", json!({ "kid": self.ec.kid, "alg": 256 })),
            ("alg in small letters", json!({ "kid": self.ec.kid, "alg": "es256" })),
            ("alg ES384", json!({ "kid": self.ec.kid, "alg": "ES384" })),
            ("alg ES512", json!({ "kid": self.ec.kid, "alg": "ES512" })),
            ("alg a list", json!({ "kid": self.ec.kid, "alg": ["ES256"] })),
        ] {
            cases.push((what.into(), self.ec.sign(&header, &claims)));
        }
        for (what, signer, kid) in [("EC", &self.own, &self.ec.kid), ("RSA", &self.own_rsa, &self.rsa.kid)] {
            let header = but(&signer.header(), json!({ "kid": kid }));
            cases.push((format!("a stranger's {what} key under the right kid"), signer.sign(&header, &claims)));
        }
        cases
    }

    /// Headers that name, bring or demand what is not looked at.
    fn headers(&self) -> Vec<Case> {
        let claims = self.claims();
        let mut cases = vec![];
        for kid in ["unknown", "", "../../../dev/null", "/dev/null", "EC", "' or '1'='1", "ec\u{0}", "ec ", "rsa", "*"]
        {
            cases.push((format!("kid {kid:?}"), self.ec.sign(&but(&self.ec.header(), json!({ "kid": kid })), &claims)));
        }
        let long = "k".repeat(3_000);
        for kid in [json!(1), json!(["ec"]), json!({ "kid": "ec" }), json!(long), Value::Null] {
            cases.push((
                format!("kid {}", &kid.to_string()[..kid.to_string().len().min(9)]),
                self.ec.sign(&but(&self.ec.header(), json!({ "kid": kid })), &claims),
            ));
        }
        let jwk = json!({ "kty": "RSA", "n": BASE64URL_NOPAD.encode(&[0xab; 256]), "e": "AQAB", "alg": "RS256", "kid": "own" });
        for (member, value) in [
            ("jwk", jwk),
            ("jku", json!("https://attacker.test/jwks.json")),
            ("x5u", json!("https://attacker.test/chain.pem")),
            ("x5c", json!([BASE64.encode(self.own.public.as_bytes())])),
        ] {
            for kid in ["own", self.ec.kid.as_str()] {
                let header = but(&self.own.header(), json!({ "kid": kid, member: value }));
                cases.push((format!("{member} of a stranger, kid {kid}"), self.own.sign(&header, &claims)));
            }
        }
        for (what, changes) in [
            ("crit exp", json!({ "crit": ["exp"] })),
            ("crit of nothing", json!({ "crit": [] })),
            ("crit b64", json!({ "crit": ["b64"], "b64": false })),
            ("crit no list", json!({ "crit": "exp" })),
            ("zip", json!({ "zip": "DEF" })),
            ("enc", json!({ "enc": "A128GCM" })),
            ("typ of a log-out", json!({ "typ": "logout+jwt" })),
            ("typ of a proof", json!({ "typ": "dpop+jwt" })),
            ("typ of an event", json!({ "typ": "secevent+jwt" })),
            ("typ of nothing", json!({ "typ": "" })),
            ("typ a number", json!({ "typ": 1 })),
        ] {
            cases.push((what.into(), self.ec.sign(&but(&self.ec.header(), changes), &claims)));
        }
        cases
    }

    /// Claims that are missing, of the wrong kind, or of somebody else.
    fn claimed(&self) -> Vec<Case> {
        let claims = self.claims();
        let mut changes = vec![];
        for name in ["iss", "aud", "sub", "exp", "nbf", "tenant"] {
            for value in [json!(null), json!(true), json!(1e30), json!({ "x": 1 }), json!(""), json!([])] {
                changes.push(json!({ name: value }));
            }
        }
        changes.extend([
            json!({ "permissions": 1 }),
            json!({ "permissions": { "a": 1 } }),
            json!({ "permissions": [1] }),
        ]);
        for iss in
            ["https://login.test", "HTTPS://LOGIN.TEST/", " https://login.test/", "https://login.test/\u{0}", "x"]
        {
            changes.push(json!({ "iss": iss }));
        }
        changes.push(json!({ "iss": [claims["iss"], "x"] }));
        for aud in [json!("steady"), json!("Stead"), json!(["x", "y"]), json!(["stead ", 1]), json!({ "stead": true })]
        {
            changes.push(json!({ "aud": aud }));
        }
        for sub in
            ["Till", "a/b", "services/", "services/a/b", "users/", "users/ada", "roles/stead_owner", "tenants/x", "-"]
        {
            changes.push(json!({ "sub": sub }));
        }
        for tenant in [
            "acme".to_owned(),
            "tenants/".into(),
            "tenants/00000000-0000-7000-8000-000000000000".into(),
            "00000000-0000-7000-8000-000000000000".into(),
            "00000000-0000-0000-0000-000000000000".into(),
            format!("tenants/{}", uuid::Uuid::now_v7()),
            self.tenant.uuid().simple().to_string(),
            format!("{{{}}}", self.tenant.uuid()),
            self.deleted.to_string(),
        ] {
            changes.push(json!({ "tenant": tenant }));
        }
        changes.push(json!({ "iss": NARROW }));
        let mut cases: Vec<_> =
            changes.iter().map(|change| (change.to_string(), self.ec.token(&but(&claims, change.clone())))).collect();
        for (what, user) in &self.users {
            cases.push(((*what).into(), self.ec.token(&but(&claims, json!({ "sub": user })))));
        }
        cases
    }

    /// Too early, too late, for too long.
    fn times(&self) -> Vec<Case> {
        let now = Utc::now().timestamp();
        let changes = [
            json!({ "exp": now - 1, "nbf": now - 100, "iat": now - 100 }),
            json!({ "exp": now - 3_600, "nbf": now - 7_000, "iat": now - 7_000 }),
            json!({ "exp": now, "nbf": now - 100, "iat": now - 100 }),
            json!({ "exp": 0 }),
            json!({ "exp": -1 }),
            json!({ "exp": i64::MAX }),
            json!({ "exp": u64::MAX }),
            json!({ "exp": (now + 300).to_string() }),
            json!({ "exp": (now + 300) * 1_000 }),
            json!({ "nbf": now + 60 }),
            json!({ "nbf": now + 200, "exp": now + 100 }),
            json!({ "nbf": (now - 1).to_string() }),
            json!({ "nbf": -1 }),
            json!({ "nbf": now - 3_400, "exp": now + 300 }),
            json!({ "iat": now - 3_400, "exp": now + 300 }),
            json!({ "exp": now + 3_700 }),
            json!({ "iat": "yesterday" }),
        ];
        changes.into_iter().map(|change| (change.to_string(), self.ec.token(&but(&self.claims(), change)))).collect()
    }

    /// Signatures of something else, and texts that are no token.
    fn texts(&self) -> Vec<Case> {
        let claims = self.claims();
        let good = self.ec.token(&claims);
        let other = self.ec.token(&but(&claims, json!({ "sub": "other" })));
        let [header, body, signature] = parts(&good);
        let [.., stolen_body, stolen] = parts(&other);
        let raw = BASE64URL_NOPAD.decode(signature.as_bytes()).expect("base64");
        let swapped = BASE64URL_NOPAD.encode(&[&raw[32..], &raw[..32]].concat());
        let zero = BASE64URL_NOPAD.encode(&[0; 64]);
        let long = self.ec.token(&but(&claims, json!({ "more": "x".repeat(8_000) })));
        let twice = signed(
            &self.ec.header().to_string(),
            &claims.to_string().replacen('{', "{\"exp\":1,", 1),
            &self.ec.private,
            self.ec.algorithm,
        );
        let more = but(&claims, json!({ "more": "?>?>~~" })).to_string();
        let message = format!("{header}.{}", BASE64.encode(more.as_bytes()).trim_end_matches('='));
        assert!(message.contains(['+', '/']), "{message}");
        let standard = jsonwebtoken::crypto::sign(message.as_bytes(), &self.ec.private, self.ec.algorithm);
        let standard = format!("{message}.{}", standard.expect("a signature"));
        let two_algs = self.ec.header().to_string().replacen('{', "{\"alg\":\"none\",", 1);
        let texts = [
            ("no signature", format!("{header}.{body}.")),
            ("no third part", format!("{header}.{body}")),
            ("one part", header.into()),
            ("four parts", format!("{good}.{signature}")),
            ("five parts", format!("{header}..{body}.{signature}.{signature}")),
            ("only dots", "..".into()),
            ("no header", format!(".{body}.{signature}")),
            ("no claims", format!("{header}..{signature}")),
            ("another token's signature", format!("{header}.{body}.{stolen}")),
            ("another token's claims", format!("{header}.{stolen_body}.{signature}")),
            ("a signature of zeros", format!("{header}.{body}.{zero}")),
            ("a signature the wrong way round", format!("{header}.{body}.{swapped}")),
            ("a signature cut in half", format!("{header}.{body}.{}", BASE64URL_NOPAD.encode(&raw[..32]))),
            (
                "a signature and a byte",
                format!("{header}.{body}.{}", BASE64URL_NOPAD.encode(&[&raw[..], &[0]].concat())),
            ),
            ("standard base64", standard),
            ("padded claims", format!("{header}.{body}=.{signature}")),
            ("claims that are a list", self.ec.sign(&self.ec.header(), &json!([claims]))),
            ("claims that are text", self.ec.sign(&self.ec.header(), &json!("x"))),
            (
                "claims that are no JSON",
                signed(&self.ec.header().to_string(), "{", &self.ec.private, self.ec.algorithm),
            ),
            ("a claim that is there twice", twice),
            (
                "a header that says alg twice",
                signed(&two_algs, &claims.to_string(), &self.ec.private, self.ec.algorithm),
            ),
            ("a header that is no JSON", signed("ES256", &claims.to_string(), &self.ec.private, self.ec.algorithm)),
            ("longer than is read", long),
            ("the audience alone", AUDIENCE.into()),
        ];
        texts.into_iter().map(|(what, text)| (what.to_owned(), text)).collect()
    }
}

fn parts(token: &str) -> [&str; 3] {
    let parts: Vec<_> = token.split('.').collect();
    parts.try_into().expect("three parts")
}
