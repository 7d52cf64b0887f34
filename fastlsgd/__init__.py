"""fastlsgd."""
