// An empty Go program: what any Go command costs before its first statement.
package main

func main() {}
