"""Pictures that clients send: by URL or as data, judged before they are decoded."""
