//! What a setting is, and the macro that makes one definition serve as field, flag, variable, file key and reference.
//! Leaves which settings there are to `config.rs`, and where their values come from to `source.rs`.

use super::source::Reader;

/// One setting of the server.
#[derive(Debug)]
pub struct Setting {
    /// Its key in the TOML file; with hyphens it is the flag.
    pub key: &'static str,
    /// Its environment variable. A secret may also come from the file that `<variable>_FILE` names.
    pub variable: &'static str,
    /// What it does, as the reference and `--help` say it.
    pub help: &'static str,
    /// How its value is written.
    pub shape: &'static str,
    /// The value when nobody gives one, as it would be written.
    pub default: Option<&'static str>,
    /// Whether it must never be shown, and never be a flag that other users of the machine could read.
    pub secret: bool,
    /// Whether the flag alone, without a value, means `true`.
    pub switch: bool,
}

impl Setting {
    /// The flag: `admin-listen`, or for a secret `database-url-file`.
    pub fn flag(&self) -> String {
        let name = self.key.replace('_', "-");
        if self.secret { format!("{name}-file") } else { name }
    }

    /// The variable that names a file with a secret's value.
    pub fn file_variable(&self) -> String {
        format!("{}_FILE", self.variable)
    }

    /// The key that names a file with a secret's value.
    pub fn file_key(&self) -> String {
        format!("{}_file", self.key)
    }

    /// What it does, in one paragraph.
    pub fn help(&self) -> String {
        self.help.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

/// Settings that belong together, and the rules that hold among them.
pub trait Concern: Sized + 'static {
    /// The settings, in the order of the reference.
    fn settings() -> Vec<&'static Setting>;

    /// Reads all of them, leaving every fault with the reader; `None` when there was one.
    fn read(reader: &mut Reader<'_>) -> Option<Self>;
}

/// Makes a struct of settings. The caller gives it an inherent `fn check(&self, reader: &mut Reader<'_>)` for the rules among its fields.
macro_rules! settings {
    (
        $(#[doc = $about:literal])*
        $name:ident { $( $(#[doc = $help:literal])* $field:ident: $kind:ty = $variable:literal $(, default $default:literal)?; )* }
    ) => {
        $(#[doc = $about])*
        #[derive(Debug, Clone)]
        pub struct $name {
            $(
                $(#[doc = $help])*
                #[doc = ""]
                #[doc = concat!("Variable `", $variable, "`" $(, ", default `", $default, "`")?, ".")]
                pub $field: $kind,
            )*
        }

        impl $crate::config::Concern for $name {
            fn settings() -> Vec<&'static $crate::config::Setting> {
                vec![$( settings!(@setting $field, $kind, $variable, concat!($($help),*) $(, $default)?) ),*]
            }

            fn read(reader: &mut $crate::config::Reader<'_>) -> Option<Self> {
                $( let $field = reader.value::<$kind>(settings!(@setting $field, $kind, $variable, concat!($($help),*) $(, $default)?)); )*
                let read = Self { $( $field: $field? ),* };
                read.check(reader);
                Some(read)
            }
        }
    };
    (@setting $field:ident, $kind:ty, $variable:literal, $help:expr $(, $default:literal)?) => {{
        const SETTING: &$crate::config::Setting = &$crate::config::Setting {
            key: stringify!($field),
            variable: $variable,
            help: $help,
            shape: <$kind as $crate::config::Value>::SHAPE,
            default: settings!(@default $($default)?),
            secret: <$kind as $crate::config::Value>::SECRET,
            switch: <$kind as $crate::config::Value>::SWITCH,
        };
        SETTING
    }};
    (@default) => { None };
    (@default $default:literal) => { Some($default) };
}

pub(super) use settings;
