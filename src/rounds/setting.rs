//! `KEY=VALUE`: one value of a configuration in place of the file's.

use std::str::FromStr;

/// A value and where it goes: its key, with dots between the names of tables.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// Such as `train.epochs`.
    pub key: String,
    /// What stands there afterwards.
    pub value: toml::Value,
}

/// A setting that cannot be put in its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{holder}` holds a value, no keys")]
pub struct SettingError {
    /// The whole key.
    pub key: String,
    /// The part of it that is not a table.
    pub holder: String,
}

impl FromStr for Setting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (key, value) = text.split_once('=').filter(|(key, _)| !key.is_empty()).ok_or("expected KEY=VALUE")?;
        // What is no number, list or truth value is a text, with or without quotes.
        let read = toml::from_str::<toml::Table>(&format!("value = {value}")).ok();
        let value = read.and_then(|mut table| table.remove("value")).unwrap_or_else(|| value.into());
        Ok(Setting { key: key.trim().to_owned(), value })
    }
}

impl Setting {
    /// Puts the value in its place, in tables that are made where they are missing.
    ///
    /// # Errors
    /// A key that goes through something other than a table.
    pub fn put(&self, table: &mut toml::Table) -> Result<(), SettingError> {
        let mut table = table;
        let mut keys: Vec<&str> = self.key.split('.').collect();
        let last = keys.pop().unwrap_or_default();
        for holder in keys {
            let entry = table.entry(holder).or_insert_with(|| toml::Value::Table(toml::Table::new()));
            let Some(inner) = entry.as_table_mut() else {
                return Err(SettingError { key: self.key.clone(), holder: holder.to_owned() });
            };
            table = inner;
        }
        table.insert(last.to_owned(), self.value.clone());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(settings: &[&str], text: &str) -> Result<toml::Table, SettingError> {
        let mut table: toml::Table = text.parse().expect("TOML");
        for setting in settings {
            setting.parse::<Setting>().expect("a setting").put(&mut table)?;
        }
        Ok(table)
    }

    #[test]
    fn settings_reach_into_tables_and_keep_their_types() {
        let put = put(&["seed=3", "select.strategy=random", "train.learning-rate=0.1", "data.pool=a b"], "seed = 1");
        let expected = "seed = 3\nselect.strategy = 'random'\ntrain.learning-rate = 0.1\ndata.pool = 'a b'";
        assert_eq!(put.expect("put"), expected.parse().expect("TOML"));
    }

    #[test]
    fn a_setting_without_a_key_or_below_a_value_is_refused() {
        assert!("=3".parse::<Setting>().is_err() && "seed".parse::<Setting>().is_err());
        assert_eq!(put(&["seed.x=3"], "seed = 1").expect_err("refused").holder, "seed");
    }
}
